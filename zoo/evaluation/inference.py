"""From frames to logits: the one place where evaluation and prediction run a model."""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from zoo.data.geometry import AnySizePipeline
from zoo.data.shuttle import Shuttle
from zoo.errors import DataError, FrameError, InputShapeError, MemoryLimitError, UsageError
from zoo.evaluation.places import Place, Places, Take, gather
from zoo.frames import Frame
from zoo.models import LoadedModel, prepare_inference
from zoo.models.prepare import release_weights
from zoo.stopwatch import part
from zoo.training.device import find_device, is_out_of_memory

PRECISIONS = ("fp32", "bf16")
BATCH_PIXELS = 1 << 20  # a frame of 2048x4096 goes alone, sixteen of 256x256 go together
MOST_FRAMES = 16

_Task = TypeVar("_Task")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class FittedPipeline(AnySizePipeline):
    """The pipeline of a run, for frames of any size, as `zoo.data.geometry` says. A frame with nothing in it is refused.

    Args:
        loaded: the model with its pipeline.
        geometry: the rule for frames of other sizes than in training; by default the one that the run was trained with.

    Raises:
        UsageError: the rule is unknown.
    """

    def __init__(self, loaded: LoadedModel, geometry: str | None = None) -> None:
        size = loaded.card.get("frame_size")
        super().__init__(
            loaded.pipeline.to_list(),
            loaded.input_shape,
            geometry=geometry or str(loaded.card.get("geometry", "resize")),
            frame_size=None if size is None else (int(size[0]), int(size[1])),
        )

    def run_frame(self, frame: Frame, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
        """Apply the frame part, fitted to the frame's size; see `AnySizePipeline.run_frame`.

        Raises:
            FrameError: also ``no-contrast``: nothing is left to classify, because all pixels are equal or without a value.
        """
        image = super().run_frame(frame, generator=generator, out=out)
        lowest, highest = torch.aminmax(image)
        if lowest == highest:
            raise FrameError(
                "no-contrast",
                path=frame.info.path,
                hdu=frame.info.hdu,
                got="a frame whose pixels are all equal, or all without a value",
                expected="a frame with something to classify",
            )
        return image


class Classifier:
    """A loaded model on a device, prepared for inference (`zoo.models.prepare_inference`).

    Args:
        loaded: the model with its pipeline; it stays as it is unless ``release``.
        device: ``auto`` (CUDA where there is one, else CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32``, or ``bf16`` to run the model under bfloat16 autocast.
        notify: is told where the model cannot be prepared and runs as it is; by default that is a warning.
        release: let go of the weights as they were loaded, where the prepared model has others. ``loaded.model`` then has shapes and no
            numbers, so it has to be the classifier's own.

    Raises:
        UsageError: the device is not there, or the precision is unknown.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        device: str = "auto",
        precision: str = "fp32",
        notify: Callable[[str], object] | None = None,
        release: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.loaded, self.device, self.precision = loaded, find_device(device), precision
        self.model = prepare_inference(loaded.model.eval(), precision=precision, input_shape=loaded.input_shape, device=self.device)
        if self.model.plain_because:
            text = f"{loaded.name} runs as it is, slower and in more memory than it could: {self.model.plain_because}"
            (notify or partial(warnings.warn, stacklevel=2))(text)
        if release:
            release_weights(loaded.model, self.model)
        self._shuttle = Shuttle(self.device)

    @property
    def ahead(self) -> int:
        """How many batches may be under way while another is put together: 1 on CUDA, 0 elsewhere, where `start` does the work itself."""
        return int(self._shuttle.overlaps)

    def batch_size(self, wanted: int | None) -> int:
        """Return ``wanted``, or as many frames as hold about a million pixels together, from 1 to 16. Raises: UsageError: it is below 1."""
        if wanted is None:
            _, height, width = self.loaded.input_shape
            return max(1, min(MOST_FRAMES, BATCH_PIXELS // (height * width)))
        if wanted < 1:
            raise UsageError(f"batch_size must be >= 1, got {wanted}")
        return wanted

    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Return the logits of each frame; `LoadedModel.probabilities` makes probabilities of them.

        Args:
            images: ``(N, 1, H, W)`` float32, as the frame part of the pipeline gives them.

        Returns: ``(N, K)``; the row of a frame for which the model gives NaN or infinity is NaN.

        Raises:
            MemoryLimitError: the batch does not fit.
        """
        return self.start(images)()

    def start(self, images: Tensor) -> Callable[[], NDArray[np.float64]]:
        """Begin to classify a batch, as a call does; returns a function that waits for the logits and returns them.

        On CUDA the batch is copied while the GPU still works on the one before, if its memory is pinned, and this returns before the work
        is done; ``images`` has to stay as it is until then. On the CPU the work is done when this returns.
        """
        with self._within_memory(images), torch.inference_mode():
            with part("transfer"):
                batch = self._shuttle.send(images).wait()
            with part("model"):
                values = self._shuttle.fetch(self.model(self.loaded.pipeline.run_batch(batch)).double())

        def finish() -> NDArray[np.float64]:
            with self._within_memory(images), torch.inference_mode():
                logits = values.wait()
                logits[~torch.isfinite(logits).all(dim=1)] = torch.nan
            return np.asarray(logits.numpy(), dtype=np.float64)

        return finish

    @contextlib.contextmanager
    def _within_memory(self, images: Tensor) -> Iterator[None]:
        """Say what to do where memory runs out."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size = f"{images.shape[-2]}x{images.shape[-1]}"
            remedy = "use a smaller --batch-size" if len(images) > 1 else "use --precision bf16, or a machine with more"
            raise MemoryLimitError(f"{len(images)} frames of {size} do not fit into the memory of {self.device}; {remedy}") from error


def other_product(product: str, products: frozenset[str] | None) -> str:
    """Return why a frame of this product is refused, or nothing where it is not.

    Args:
        product: of the frame. products: those the run was trained on; ``None`` or none known allows all.
    """
    if not products or product in products:
        return ""
    return f"got product {product}, the run was trained on {', '.join(sorted(products))}; --allow-product takes it all the same"


def list_other_products(counts: Mapping[str, int], trained: Sequence[str]) -> str:
    """Return how many frames are of products that the run was not trained on, such as ``flt 20, drz 1``; empty where none are.

    Args:
        counts: product -> frames. trained: products of the run; none known allows all.
    """
    return ", ".join(f"{name} {count}" for name, count in counts.items() if name not in trained) if trained else ""


def refusal_code(error: Exception) -> str:
    """Return the stable word for why a frame was refused."""
    if isinstance(error, FrameError):
        return error.code
    if isinstance(error, InputShapeError):
        return "bad-size"
    return "unreadable" if isinstance(error, OSError | DataError) else "step-failed"


def classify(
    tasks: Iterable[_Task],
    read: Callable[[_Task], Iterable[tuple[_Item, Tensor | None]]],
    classifier: Classifier,
    *,
    batch_size: int,
    workers: int,
) -> Iterator[tuple[_Item, NDArray[np.float64] | None]]:
    """Yield every item that ``read`` gives, in order, with its ``(K,)`` logits; ``None`` for an item without an image.

    Args:
        tasks: what to read, taken one by one.
        read: gives the items of a task, each with its ``(1, H, W)`` float32, which is copied into a batch, or ``None``; called in threads,
            must not raise for a bad input.
        classifier: runs the model on batches of ``batch_size``.
        batch_size, workers: as for `classify_in_place`.
    """

    def placed(task: _Task, take: Take) -> list[tuple[_Item, Place | None]]:
        found = list(read(task))
        places = iter(take(sum(image is not None for _, image in found)))
        return [(item, None if image is None else next(places).put(image)) for item, image in found]

    return classify_in_place(tasks, placed, classifier, batch_size=batch_size, workers=workers)


def classify_in_place(
    tasks: Iterable[_Task],
    read: Callable[[_Task, Take], Iterable[tuple[_Item, Place | None]]],
    classifier: Classifier,
    *,
    batch_size: int,
    workers: int,
) -> Iterator[tuple[_Item, NDArray[np.float64] | None]]:
    """Do as `classify`, for a reader that writes frames straight into the batch.

    On a GPU the items of a batch come when the next batch is on its way.

    Args:
        tasks: what to read, taken one by one.
        read: gives the items of a task, each with the place where it wrote its frame, or ``None``. It is called with the task and a
            function that gives it as many places as it asks for, which it may call once and which waits for the tasks before it: so it
            should ask as soon as it knows how many it needs. In threads; must not raise for a bad input.
        classifier: runs the model on batches of ``batch_size``, of which those frames are left out that were refused.
        batch_size, workers: at most ``workers + 1`` tasks are held besides a batch, or two on a GPU.
    """
    places = Places(classifier.loaded.input_shape, batch_size, pinned=classifier.device.type == "cuda")

    def work(numbered: tuple[int, _Task]) -> list[tuple[_Item, Place | None]]:
        number, task = numbered
        with places.turn(number) as take:
            return list(read(task, take))

    running = _Running[_Item](classifier)
    for items in ordered(enumerate(tasks), work, workers=workers, ahead=workers + 1):
        while items:  # emptied, or the last place in it would keep the memory of a batch
            yield from running.add(*items.pop(0))
    yield from running.start()
    yield from running.finish(0)


class _Running(Generic[_Item]):
    """The items that wait for a batch to be full, and the batches that the model works on, in the order of the items."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._items: list[tuple[_Item, Place | None]] = []
        self._places: list[Place] = []
        self._started: deque[tuple[list[tuple[_Item, bool]], Callable[[], Iterable[NDArray[np.float64]]] | None]] = deque()

    def add(self, item: _Item, place: Place | None) -> Iterator[tuple[_Item, NDArray[np.float64] | None]]:
        """Take an item; yields as `start` does where that, or what waits already, fills a batch."""
        if place is not None and self._places and place.batch is not self._places[0].batch:
            yield from self.start()
        self._items.append((item, place))
        if place is not None:
            self._places.append(place)
        # What was refused waits for the frames before it, but no longer than a few batches.
        size = len(self._places[0].batch) if self._places else 0
        if size == 0 or self._places[-1].index + 1 == size or len(self._items) >= 16 * size:
            del place
            yield from self.start()

    def start(self) -> Iterator[tuple[_Item, NDArray[np.float64] | None]]:
        """Give the items that wait to the model, and yield those of earlier batches that need no longer wait."""
        if self._items:
            batch = gather(self._places) if self._places else None
            items = [(item, place is not None) for item, place in self._items]
            self._items, self._places = [], []
            self._started.append((items, None if batch is None else self._classifier.start(batch)))
        yield from self.finish(self._classifier.ahead)

    def finish(self, most: int) -> Iterator[tuple[_Item, NDArray[np.float64] | None]]:
        """Yield the items of batches, the oldest first, until at most ``most`` are under way."""
        while self._started and (len(self._started) > most or self._started[0][1] is None):
            items, wait = self._started.popleft()
            logits = iter(() if wait is None else wait())
            yield from [(item, next(logits) if has_image else None) for item, has_image in items]


def ordered(tasks: Iterable[_Task], work: Callable[[_Task], _Result], *, workers: int, ahead: int) -> Iterator[_Result]:
    """Yield ``work(task)`` for each task in order, computed by threads at most ``ahead`` tasks before it is taken.

    Args:
        tasks: taken one by one, never all at once.
        work: called in a thread; with ``workers`` 0 in the caller's.
        workers: threads.
        ahead: how many results may wait or be under way, >= 1; this bounds the memory.
    """
    if workers == 0:
        yield from map(work, tasks)
        return
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="zoo-frames") as pool:
        try:
            for task in tasks:
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(work, task))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in reversed(waiting):  # the last first: what has begun may wait for what was asked for before it
                future.cancel()
