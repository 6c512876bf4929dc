"""Each fault planted in an architecture is caught by the check that is there for it, and by no other."""

from __future__ import annotations

import os
import threading
from typing import Any, ClassVar

import pytest
import torch
from planted import Net, Shape, build_net, builder, examined, failed
from torch import Tensor, nn

import zoo
from zoo.errors import CheckFailedError, InputShapeError, UsageError
from zoo.models import check_input_shape
from zoo.registry import Registry, use_registry
from zoo.testing import check_model
from zoo.testing.targets import examine_entry

BUILTIN = Registry.from_plugins([])
# One of each way to build a network; their relatives differ in the number of layers, and get the checks that need no weights.
FAMILIES = ("hrcn", "alexnet", "vgg11_bn", "resnet18", "resnet50")
WITHOUT_WEIGHTS = frozenset(
    {
        "entry-loads", "entry-signature", "entry-summary", "entry-licence", "entry-options", "model-reference", "model-weights",
        "model-declared-shape", "model-classes", "model-channels", "model-sizes",
    }
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_one_of_every_family_passes_every_check(name: str) -> None:
    with use_registry(BUILTIN):
        results = list(examine_entry(BUILTIN.get("models", name)))
    assert failed(results) == set()
    assert [result.check for result in results if result.status == "skipped"] in ([], ["model-options"])


@pytest.mark.parametrize("name", sorted(set(BUILTIN.names("models")) - set(FAMILIES)))
def test_every_other_model_passes_what_needs_no_weights(name: str) -> None:
    with use_registry(BUILTIN):
        results = list(examine_entry(BUILTIN.get("models", name), only=WITHOUT_WEIGHTS))
    assert {result.check for result in results if result.status == "passed"} == WITHOUT_WEIGHTS


def test_correct_network_passes_every_check() -> None:
    results = examined("models", build_net)
    assert failed(results) == set()
    assert [result.check for result in results if result.status == "skipped"] == ["model-options"]


class Unused(Net):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.idle = nn.Linear(2, 2)


class Unshaped(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.features(frames).flatten(1))  # type: ignore[no-any-return]


class OneRow(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames).mean(0)


class Infinite(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames) / 0


class BadGradient(Net):
    def forward(self, frames: Tensor) -> Tensor:
        logits = super().forward(frames)
        return logits + (logits - logits.detach()).sqrt()


class Detached(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames).detach()


class InPlace(Net):
    def forward(self, frames: Tensor) -> Tensor:
        frames += 1e-3
        return super().forward(frames)


class Restless(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(frames), 0.5, training=True)


class DeafToEval(Net):
    def train(self, mode: bool = True) -> DeafToEval:
        self.training = mode
        return self


class BatchCoupled(Net):
    def forward(self, frames: Tensor) -> Tensor:
        logits = super().forward(frames)
        return logits - logits.mean(0) * (frames.shape[0] > 1)


class HiddenState(Net):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.offset = torch.rand(1).item()

    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames) + self.offset


class ExtraState(Net):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 3}

    def set_extra_state(self, state: Any) -> None:
        pass


class Softmax(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames).softmax(1)


class LogSoftmax(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames).log_softmax(1)


class Sigmoid(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames).sigmoid()


class TwoClasses(Net):
    def __init__(self, num_classes: int, in_channels: int, input_shape: Shape) -> None:
        super().__init__(2, in_channels, input_shape)


class OneChannel(Net):
    def __init__(self, num_classes: int, in_channels: int, input_shape: Shape) -> None:
        super().__init__(num_classes, 1, input_shape)


class FixedHead(Net):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.features[3] = nn.Identity()
        self.head = nn.Linear(4 * 15 * 31, self.num_classes)


class Squeezed(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames).squeeze(0)


class Cleaned(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(torch.nan_to_num(frames))


class Spreading(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames) + 0 * frames.mean()


class Reseeded(Net):
    def __init__(self, *arguments: Any) -> None:
        torch.manual_seed(0)
        super().__init__(*arguments)


class SetsThreads(Net):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        torch.set_num_threads(torch.get_num_threads() + 1)


class SetsEnvironment(Net):
    def forward(self, frames: Tensor) -> Tensor:
        os.environ["PLANTED"] = "1"
        return super().forward(frames)


class HoldsLambda(Net):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.activation = lambda x: x


class HoldsLock(Net):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.lock = threading.Lock()


class MixesDtypes(Net):
    def forward(self, frames: Tensor) -> Tensor:
        features = self.features(check_input_shape(frames, self.input_shape)).flatten(1)
        index = torch.arange(16, device=frames.device).expand(features.shape[0], 16)
        return self.head(frames.new_zeros(features.shape[0], 16).scatter_add(1, index, features))  # type: ignore[no-any-return]


class Viewed(Net):
    def forward(self, frames: Tensor) -> Tensor:
        features = self.features(check_input_shape(frames, self.input_shape))
        return self.head(features.view(features.shape[0], -1))  # type: ignore[no-any-return]


class CountsFrames(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames) + 0 * len(frames)


class Branching(Net):
    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames) if frames.mean() > -1e9 else -super().forward(frames)


class Masked(Net):
    def forward(self, frames: Tensor) -> Tensor:
        rows = super().forward(frames)
        return rows[torch.nonzero(torch.ones_like(rows[:, 0]))[:, 0]]


class Narrow(Net):
    def __init__(self, num_classes: int, in_channels: int, input_shape: Shape) -> None:
        if max(input_shape) > 1000:
            raise InputShapeError(f"frames of {input_shape} are too wide")
        super().__init__(num_classes, in_channels, input_shape)


class Strided(Net):
    """Correct, though the batch is not contiguous in the middle."""

    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames.transpose(2, 3).transpose(2, 3))


FAULTS: dict[type[Net], set[str]] = {
    Unused: {"model-gradients"},
    Detached: {"model-gradients"},
    BadGradient: {"model-gradients"},
    Unshaped: {"model-shapes"},
    OneRow: {"model-logits"},
    Infinite: {"model-logits"},
    InPlace: {"model-input-kept"},
    Restless: {"model-repeatable"},
    DeafToEval: {"model-repeatable"},
    BatchCoupled: {"model-neighbours"},
    HiddenState: {"model-state"},
    ExtraState: {"model-state"},
    Softmax: {"model-raw-logits"},
    LogSoftmax: {"model-raw-logits"},
    Sigmoid: {"model-raw-logits"},
    TwoClasses: {"model-classes"},
    OneChannel: {"model-channels"},
    FixedHead: {"model-sizes"},
    Squeezed: {"model-batch-of-one"},
    Cleaned: {"model-nan"},
    Spreading: {"model-nan"},
    Reseeded: {"model-seed"},
    SetsThreads: {"model-effects"},
    SetsEnvironment: {"model-effects"},
    HoldsLambda: {"model-pickle"},
    HoldsLock: {"model-pickle", "model-copy"},
    MixesDtypes: {"model-autocast"},
    Viewed: {"model-channels-last"},
    CountsFrames: {"model-fx"},
    Branching: {"model-fx", "model-fake"},
    Masked: {"model-fake"},
}


@pytest.mark.parametrize(("fault", "ids"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_planted_fault_is_caught_by_its_check(fault: type[Net], ids: set[str]) -> None:
    assert failed(examined("models", builder(fault), input_shape=(1, 64, 128))) == ids


def test_declared_shape_that_the_builder_refuses_is_caught() -> None:
    assert failed(examined("models", builder(Narrow), input_shape=(1, 2048, 4096))) == {"model-declared-shape"}


def test_noncontiguous_network_is_no_fault() -> None:
    assert failed(examined("models", builder(Strided))) == set()


def test_builder_that_returns_no_module_is_caught() -> None:
    results = examined("models", lambda *, num_classes, in_channels, input_shape: "net")
    assert failed(results) == {"model-builds"}
    assert {"model-logits", "model-fx", "model-gradients"} <= {result.check for result in results if result.status == "skipped"}


class Optional:
    """A builder with one option, which can be broken in several ways."""

    OPTION: ClassVar = {"width": zoo.Option(int, 4, "channels")}
    CHOICE: ClassVar = {"norm": zoo.Option(str, "batch", "normalisation", choices=("batch", "none"))}

    @staticmethod
    def ignored(*, num_classes: int, in_channels: int, input_shape: Shape, width: int) -> nn.Module:
        return Net(num_classes, in_channels, input_shape)

    @staticmethod
    def used(*, num_classes: int, in_channels: int, input_shape: Shape, width: int) -> nn.Module:
        model = Net(num_classes, in_channels, input_shape)
        model.features[0] = nn.Conv2d(in_channels, 4, width + 1, stride=4)
        return model

    @staticmethod
    def crashing(*, num_classes: int, in_channels: int, input_shape: Shape, norm: str) -> nn.Module:
        layers = {"batch": Net}
        return layers[norm](num_classes, in_channels, input_shape)

    @staticmethod
    def refusing(*, num_classes: int, in_channels: int, input_shape: Shape, norm: str) -> nn.Module:
        if norm == "none":
            raise UsageError("norm=none needs a larger frame")
        return Net(num_classes, in_channels, input_shape)

    @staticmethod
    def attribute(*, num_classes: int, in_channels: int, input_shape: Shape, norm: str) -> nn.Module:
        model = Net(num_classes, in_channels, input_shape)
        model.norm = norm  # type: ignore[assignment]
        return model


@pytest.mark.parametrize(
    ("build", "options", "ids", "words"),
    [
        (Optional.used, Optional.OPTION, set(), ""),
        (Optional.attribute, Optional.CHOICE, set(), ""),
        (Optional.refusing, Optional.CHOICE, set(), ""),
        (Optional.ignored, Optional.OPTION, {"model-options"}, "option width changes nothing"),
        (Optional.crashing, Optional.CHOICE, {"model-options"}, "norm=none raised KeyError"),
    ],
    ids=["used", "attribute", "refused", "ignored", "crashing"],
)
def test_options_must_do_something(build: Any, options: dict[str, zoo.Option], ids: set[str], words: str) -> None:
    results = examined("models", build, options=options)
    assert failed(results) == ids
    assert words in next(result.got for result in results if result.check == "model-options")


def test_architecture_is_built_with_the_options_that_its_refusal_names() -> None:
    def build(*, num_classes: int, in_channels: int, input_shape: Shape, norm: str) -> nn.Module:
        if norm == "batch":
            raise InputShapeError("too small", options={"norm": "none"})
        return Net(num_classes, in_channels, input_shape)

    results = {result.check: result for result in examined("models", build, options=Optional.CHOICE)}
    assert results["model-builds"].status == "passed"
    assert results["model-declared-shape"].status == "failed"


def test_refused_sizes_and_channels_are_no_fault() -> None:
    def build(*, num_classes: int, in_channels: int, input_shape: Shape) -> nn.Module:
        if in_channels != 1 or input_shape[2] % 2:
            raise InputShapeError("one channel, and even sides")
        return Net(num_classes, in_channels, input_shape)

    results = {result.check: result.got for result in examined("models", build)}
    assert results["model-channels"] == "1 and 3 refused"
    assert results["model-sizes"] == "61x131 refused and 97x66"


def test_state_of_the_process_is_put_back() -> None:
    threads = torch.get_num_threads()
    drawn = torch.get_rng_state()
    examined("models", builder(SetsThreads))
    examined("models", builder(SetsEnvironment))
    examined("models", builder(Reseeded))
    assert torch.get_num_threads() == threads
    assert "PLANTED" not in os.environ
    assert torch.equal(drawn, torch.get_rng_state())


def test_check_model_raises_what_was_got_and_how_to_mend_it() -> None:
    from planted import ABOUT_MODELS, plugin_with

    words = r"model 'planted' at 1x64x128: a transposed frame \(128x64\) was accepted; call zoo.models.check_input_shape.* \[model-shapes\]"
    with use_registry(Registry.from_plugins([plugin_with("models", builder(Unshaped), **ABOUT_MODELS)])):
        with pytest.raises(CheckFailedError, match=words):
            check_model("planted")
        with pytest.raises(KeyError, match="unknown option 'width'"):
            check_model("planted", options={"width": 3})
    with use_registry(Registry.from_plugins([plugin_with("models", build_net, **ABOUT_MODELS)])):
        model = check_model("planted", input_shape=(3, 40, 60), num_classes=4)
    assert not model.training
    assert model(torch.zeros(1, 3, 40, 60)).shape == (1, 4)
