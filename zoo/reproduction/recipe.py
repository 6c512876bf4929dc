"""What is trained on what: the networks, their settings and the sets they are tested on, for every kind of reproduction.

The paper publishes neither its training and validation lists nor its optimizer, rate, schedule, batch, augmentation or the size of
LCID-Resize, so every setting here is a choice of zoo. The split is by target: no target is trained on and tested on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from zoo.errors import UnknownNameError
from zoo.reproduction.published import PAPER
from zoo.steps import default_pipeline
from zoo.training import TrainConfig

Size = tuple[int, int]


@dataclass(frozen=True)
class Network:
    """One row of the tables.

    Attributes:
        key: what ``--only`` and the folders of its runs call it.
        title: as the paper calls it.
        model: registered name.
        size: height and width of the frames that it takes, in pixels.
        options: of the model. train: keys of ``[train]`` that differ from the defaults.
        pretrained: weights to start from; ``None`` draws new ones.
        published_as: its name in `zoo.reproduction.published`; empty where the paper gives no figure for it.
        expected_s: time to train it, relative to the other parts; measured where the recipe says so.
    """

    key: str
    title: str
    model: str
    size: Size
    options: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str | None = None
    published_as: str = ""
    expected_s: float = 1.0


@dataclass(frozen=True)
class TestSet:
    """Frames that every network is tested on.

    Attributes:
        key: ``test``, ``blurry`` or ``csst``.
        title: for the head of its table. says: what it is, in a sentence.
        source: a registered data set of its own; ``None`` takes the test frames of the data that are trained on.
        steps: through which a frame goes when it is opened, before those of the network.
        per_target: the first frames of each target that are used; 0 uses all.
        expected_s: time to evaluate one network, as `Network.expected_s`.
    """

    __test__ = False  # for pytest, which collects classes of this name

    key: str
    title: str
    says: str
    source: str | None = None
    steps: tuple[str, ...] = ()
    per_target: int = 0
    expected_s: float = 1.0


@dataclass(frozen=True)
class Insight:
    """What is looked at besides accuracy, on the test frames of the first training of some networks.

    Attributes:
        networks: their keys.
        levels: axis of `zoo.robustness.AXES` -> how far frames are made worse; empty for all axes and their own levels.
        frames: how many are made worse; 0 for all. degrade_s: time for one network, as `Network.expected_s`.
        worst: wrong frames that are shown. explain_s: likewise.
    """

    networks: tuple[str, ...] = ()
    levels: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    frames: int = 0
    degrade_s: float = 1.0
    worst: int = 12
    explain_s: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """All that a reproduction does.

    Attributes:
        name: ``quick`` or ``full``.
        source, root, options: of the data that are trained on.
        networks, sets: the rows and the tables.
        listed: whether ``source`` are the authors' lists.
        trained_on: a manifest to train on instead of ``source``, every frame of which is then tested on.
        from_scratch: whether networks that would start from published weights start from new ones.
        insight: what is looked at besides accuracy.
        budget_s: for measuring the latency of each network.
        data_s, cost_s: time to prepare the data, and for all figures of cost of one network, as `Network.expected_s`.
        timed: whether these times are seconds, as measured on two cores.
    """

    name: str
    source: str
    networks: tuple[Network, ...]
    sets: tuple[TestSet, ...]
    root: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    listed: bool = False
    trained_on: Path | None = None
    from_scratch: bool = False
    insight: Insight = field(default_factory=Insight)
    budget_s: float = 20.0
    data_s: float = 1.0
    cost_s: float = 1.0
    timed: bool = False

    @property
    def command(self) -> str:
        """The command that does the same, without what no value depends on."""
        words = ["zoo", "reproduce", PAPER]
        words += ["--data", "DIR"] if self.listed else []
        words += ["--train-list", "LIST"] if self.trained_on else []
        words += ["--from-scratch"] if self.from_scratch else []
        return " ".join([*words, *(["--quick"] if self.name == "quick" else [])])

    def only(self, keys: Sequence[str]) -> Recipe:
        """Return the recipe for some of the networks. Raises: UnknownNameError: one of the keys is none of them."""
        known = [network.key for network in self.networks]
        for key in keys:
            if key not in known:
                raise UnknownNameError("network", key, known, remedy=f"This recipe has {', '.join(known)}.")
        return replace(self, networks=tuple(network for network in self.networks if network.key in keys)) if keys else self

    def config(self, network: Network, seed: int, path: Path, **train: Any) -> TrainConfig:
        """Return the settings of one training, as ``zoo train`` takes them.

        Args:
            network: one of the recipe's. seed: of weights, order and augmentation. path: the run directory.
            **train: keys of ``[train]`` that belong to the machine: ``device``, ``workers``, ``fit``.
        """
        data: dict[str, Any] = {"source": self.source, "root": self.root, "options": dict(self.options)}
        if self.trained_on is not None:
            data = {"source": str(self.trained_on), "root": None}
        return TrainConfig.from_mapping(
            {
                "model": {"name": network.model, "options": dict(network.options), "pretrained": network.pretrained},
                # One run's baselines stand for all: they see the same frames, whatever the network.
                "data": {**data, "baselines": network == self.networks[0] and seed == 0},
                "pipeline": [*default_pipeline((1, *network.size)), {"step": "flip"}],
                "train": {**network.train, **train, "seed": seed},
                "output": {"path": path},
            },
            where="recipe",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, paths left out."""
        plain = {key: value for key, value in asdict(self).items() if key not in ("root", "trained_on")}
        return plain | {"command": self.command}


# The exposure time of LCID-Blurry's counterpart. The authors' set is of frames that lack signal, three quarters of them ultraviolet; it is
# not blurred. A tenth of the time gives the simulated sky such frames.
_SHORT = "exposure:factor=0.1"
_BLURRED = "frames that lack signal, as those of the authors' second list; nothing is blurred"
_CSST = "the same frames as CSST's survey camera would expose them, by the step csst"


def _sets(listed: bool, quick: bool) -> tuple[TestSet, ...]:
    """The sets of the paper, or their counterparts on the simulated sky."""
    # A degraded frame of the simulated sky is rendered again, so few are taken where time is short.
    shared: dict[str, Any] = {"per_target": 2 if quick and not listed else 0, "expected_s": 10.0 if quick else 0.5}
    test = TestSet("test", "test", "test frames, of targets that were not trained on", expected_s=6.0 if quick else 0.5)
    csst = TestSet("csst", "CSST-like", _CSST, steps=("overscan", "csst"), **shared)
    if listed:
        return test, TestSet("blurry", "LCID-Blurry", _BLURRED, source="lcid:blurry", **shared), csst
    says = f"the same frames exposed for a tenth of the time, so that they lack signal ({_SHORT})"
    return test, TestSet("blurry", "blurry", says, steps=("overscan", _SHORT), **shared), csst


QUICK_SIZE = (256, 512)
QUICK_TARGETS = 40  # per class, to train on: 320 frames of the simulated sky
FULL_SIZE, RESIZED = (2048, 4096), (512, 1024)

# Two networks have no BatchNorm: they get a lower rate, and no dropout, which so few steps do not need.
_PLAIN = {"dropout": 0.0}
QUICK = (
    Network("hrcn", "HR-CelestialNet", "hrcn", QUICK_SIZE, {"padding": "same"}, {"epochs": 3, "batch_size": 16}, None, "hrcn", 130),
    Network("alexnet", "AlexNet", "alexnet", QUICK_SIZE, _PLAIN, {"epochs": 4, "batch_size": 8, "lr": 4e-4}, expected_s=95),
    Network("vgg11", "VGGNet", "vgg11", QUICK_SIZE, _PLAIN, {"epochs": 1, "batch_size": 4, "lr": 2e-4}, expected_s=160),
    Network("resnet18", "ResNet", "resnet18", QUICK_SIZE, {}, {"epochs": 2, "batch_size": 8}, expected_s=95),
)

QUICK_INSIGHT = Insight(("hrcn",), {"psf": (0.15, 0.3, 0.8), "exposure": (0.2, 0.03)}, frames=16, degrade_s=25, worst=8, explain_s=15)

# The paper fine-tunes its rivals; which members of the families, and from which weights, it does not say. Times are MACs of a frame here.
_TUNED: dict[str, Any] = {"epochs": 20, "lr": 1e-4, "keep": "best"}
_NEW: dict[str, Any] = {"epochs": 40, "lr": 1e-3, "keep": "best"}
FULL = (
    Network("hrcn", "HR-CelestialNet", "hrcn", FULL_SIZE, train=_NEW, published_as="hrcn", expected_s=178),
    Network("hrcn-resize", "HR-CelestialNet, resized frames", "hrcn", RESIZED, {"padding": "same"}, _NEW, expected_s=11),
    Network("alexnet", "AlexNet", "alexnet", RESIZED, train=_TUNED, pretrained="imagenet1k-v1", expected_s=4),
    Network("vgg11", "VGGNet", "vgg11", RESIZED, train=_TUNED, pretrained="imagenet1k-v1", expected_s=39),
    Network("vgg16", "VGGNet", "vgg16", RESIZED, train=_TUNED, pretrained="imagenet1k-v1", expected_s=80),
    Network("resnet18", "ResNet", "resnet18", RESIZED, train=_TUNED, pretrained="imagenet1k-v1", expected_s=9),
    Network("resnet50", "ResNet", "resnet50", RESIZED, train=_TUNED, pretrained="imagenet1k-v1", expected_s=21),
)

FULL_INSIGHT = Insight(frames=100, degrade_s=3.0, explain_s=0.5)


def find_recipe(*, quick: bool, data: Path | None = None, train_list: Path | None = None, from_scratch: bool = False) -> Recipe:
    """Return what is done: small or at the paper's size, on the authors' lists or on the simulated sky.

    Args:
        quick: 256x512 pixels, small networks, few steps. data: folder with the authors' lists and their files. train_list: manifest to
            train on instead of a part of the published list. from_scratch: start every network from new weights, as `quick` always does.
    """
    networks: tuple[Network, ...] = QUICK if quick else FULL
    if from_scratch:
        longer = {"epochs": _NEW["epochs"]}
        networks = tuple(
            replace(network, pretrained=None, train={**network.train, **longer}) if network.pretrained else network for network in networks
        )
    listed = data is not None
    return Recipe(
        name="quick" if quick else "full",
        source="lcid" if listed else "simulated" if quick else "simulated:full",
        networks=networks,
        sets=_sets(listed, quick),
        root=data,
        options={"train": QUICK_TARGETS} if quick and not listed else {},
        listed=listed,
        trained_on=train_list,
        from_scratch=from_scratch and not quick,
        insight=QUICK_INSIGHT if quick else replace(FULL_INSIGHT, networks=tuple(network.key for network in networks)),
        budget_s=3.0 if quick else 60.0,
        data_s=45.0 if quick else 0.0,
        cost_s=13.0 if quick else 0.5,
        timed=quick,
    )
