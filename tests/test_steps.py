"""StepSpec and Pipeline: parsing, checks before any frame is read, running, storing."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.errors import InputShapeError, PipelineError, PluginError, UnknownNameError, UsageError
from zoo.frames import Frame, read_frame
from zoo.registry import Registry, use_registry
from zoo.steps import Pipeline, Step, StepSpec, default_pipeline


class Scripted:
    """A step that does what its options say, for tests of the pipeline."""

    def __init__(self, scope: str, unit_in: str, unit_out: str, *, random: bool = False) -> None:
        self.scope, self.unit_in, self.unit_out, self.random = scope, unit_in, unit_out, random
        self.calls: list[Any] = []

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return shape

    def __call__(self, x: Any, *, generator: Any = None, out: Any = None) -> Any:
        self.calls.append((generator, out))
        if self.scope == "batch":
            return x + 1 if generator is None else x + torch.stack([torch.rand(1, generator=g) for g in generator]).view(-1, 1, 1, 1)
        return x.with_pixels(torch.add(x.decode(), 1.0, out=out))


class Framing(Scripted):
    """Brings frames to 9 x 9."""

    sizes_only = True

    def __init__(self) -> None:
        super().__init__("frame", "any", "same")

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return (1, 9, 9)

    def __call__(self, x: Any, *, generator: Any = None, out: Any = None) -> Any:
        _, height, width = x.shape
        return x if x.shape == (1, 9, 9) else x.with_pixels(torch.nn.functional.pad(x.decode(), (0, 9 - width, 0, 9 - height)))


class Plugin:
    """Registers scripted steps."""

    def __init__(self, steps: dict[str, Callable[..., Any]]) -> None:
        self.steps = steps

    @zoo.hookimpl
    def register_steps(self, register: Callable[..., None]) -> None:
        for name, build in self.steps.items():
            register(name, build, scope="batch" if name.startswith("batch") else "frame")


class Optional:
    """Registers one step whose option has the name that pipelines use."""

    @zoo.hookimpl
    def register_steps(self, register: Callable[..., None]) -> None:
        register("odd", lambda step: Scripted("frame", "any", "same"), scope="frame", options={"step": zoo.Option(int, 1)})


def scripted(**steps: Sequence[Any]) -> Registry:
    return Registry.from_plugins([Plugin({name: lambda a=tuple(arguments): Scripted(*a) for name, arguments in steps.items()})])


@pytest.mark.parametrize(
    ("text", "name", "params"),
    [
        ("overscan", "overscan", {}),
        ("normalize:lower=1,upper=99.5,stretch=asinh", "normalize", {"lower": "1", "upper": "99.5", "stretch": "asinh"}),
        (" blur : sigma = 2 ", "blur", {"sigma": "2"}),
        ("tiny:destripe", "tiny:destripe", {}),
        ("tiny:destripe:width=3", "tiny:destripe", {"width": "3"}),
        ("smear:path=C:/x.fits", "smear", {"path": "C:/x.fits"}),
    ],
)
def test_spec_parses_text(text: str, name: str, params: dict[str, str]) -> None:
    assert StepSpec.parse(text) == StepSpec(name, params)


@pytest.mark.parametrize(
    "text", ["", ":lower=1", "lower=1", "blur:sigma=1,truncate", "blur:sigma=1,sigma=2", "blur:=1,sigma=1", "blur:sigma=1,"]
)
def test_spec_refuses_text(text: str) -> None:
    with pytest.raises(PipelineError, match=r"cannot read step .*; write it as name:option=value"):
        StepSpec.parse(text)


def test_pipeline_resolves_all_options() -> None:
    pipeline = Pipeline(["overscan", {"step": "resize", "factor": 2}, StepSpec("normalize", {"upper": "99.5"})])
    assert pipeline.to_list()[0] == {"step": "overscan"}
    assert pipeline.to_list()[1] == {"step": "resize", "height": 0, "width": 0, "factor": 2}
    assert (pipeline.to_list()[2]["lower"], pipeline.to_list()[2]["upper"]) == (1.0, 99.5)
    assert str(pipeline) == "overscan | resize(factor=2) | normalize(upper=99.5)"
    assert repr(pipeline) == "Pipeline('overscan | resize(factor=2) | normalize(upper=99.5)')"


def test_pipeline_survives_json_and_pickle() -> None:
    pipeline = Pipeline([*default_pipeline((1, 64, 128)), "flip"])
    stored = json.loads(json.dumps(pipeline.to_list()))
    again = Pipeline.from_list(stored)
    assert again == pipeline
    assert again.fingerprint() == pipeline.fingerprint()
    assert hash(again) == hash(pipeline)
    assert pickle.loads(pickle.dumps(pipeline)) == pipeline
    assert pipeline != "pipeline"
    assert Pipeline(["blur:sigma=2"]) != Pipeline(["blur:sigma=3"])
    assert Pipeline(["blur:sigma=2"]).fingerprint() != Pipeline(["blur:sigma=3"]).fingerprint()


@pytest.mark.parametrize(
    ("specs", "error", "message"),
    [
        ([{"sigma": 1}], PipelineError, r"its name under 'step'"),
        (["blurr"], UnknownNameError, r"did you mean 'blur'"),
        (["blur:sgima=1"], UnknownNameError, r"unknown option 'sgima'; did you mean 'sigma'"),
        (["blur:sigma=wide"], UsageError, r"option sigma must be float, got 'wide'"),
        (["blur:sigma=-1"], UsageError, r"sigma must be finite and > 0, got -1"),
        (["flip", "normalize"], PipelineError, r"'normalize' works on single frames and cannot follow 'flip'"),
        (["normalize", "blur"], PipelineError, r"'blur' needs linear pixels and cannot follow .* dimensionless .* before 'normalize'"),
        (["normalize", "normalize"], PipelineError, r"'normalize' needs linear pixels"),
        (["normalize", "resize:factor=2"], PipelineError, r"'resize' needs linear pixels"),
        (["resize:factor=2", "overscan"], PipelineError, r"'overscan' needs the pixels as the detector gave them; put it first"),
        (["normalize", "overscan"], PipelineError, r"'overscan' needs the pixels as the detector"),
        (["overscan", "overscan"], PipelineError, r"'overscan' needs the pixels as the detector"),
        (["crop:height=4,width=4", "overscan"], PipelineError, r"'overscan' needs the pixels as the detector"),
    ],
)
def test_pipeline_refuses_before_any_frame(specs: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Pipeline(specs)


def test_pipeline_checks_electrons() -> None:
    registry = scripted(smear=("frame", "electron", "same"))
    assert len(Pipeline(["overscan", "smear", "smear"], registry).frame_steps) == 2 + 1
    with pytest.raises(PipelineError, match=r"'smear' needs electrons and would get DN; put 'overscan' before it"):
        Pipeline(["smear"], registry)


def test_pipeline_refuses_what_is_no_step() -> None:
    with pytest.raises(PipelineError, match=r"step 'broken' of 'Plugin' built a int"):
        Pipeline(["broken"], Registry.from_plugins([Plugin({"broken": lambda: 5})]))
    with pytest.raises(PipelineError, match=r"option named 'step'"):
        Pipeline(["odd"], Registry.from_plugins([Optional()]))
    registry = Registry.from_plugins([Plugin({"gone": "no.such.module:Step"})])
    with pytest.raises(PluginError, match=r"cannot load"):
        Pipeline(["gone"], registry)


def test_pipeline_uses_the_registry_in_force() -> None:
    with use_registry(scripted(mine=("frame", "any", "same"))):
        assert str(Pipeline(["mine"])) == "mine"


def test_steps_satisfy_the_protocol() -> None:
    assert isinstance(Scripted("frame", "any", "same"), Step)
    assert not isinstance(5, Step)


def electrons(height: int = 6, width: int = 8) -> Frame:
    return Frame(torch.arange(height * width, dtype=torch.float32).view(1, height, width), None, unit="electron")


def test_run_frame_writes_into_out() -> None:
    pipeline = Pipeline(["one", "two"], scripted(one=("frame", "any", "same"), two=("frame", "any", "same")))
    frame, batch = electrons(), torch.zeros(2, 1, 6, 8)
    out = batch[1]
    assert pipeline.run_frame(frame, out=out) is out
    assert torch.equal(batch[1], frame.decode() + 2)
    assert not batch[0].any()
    assert [call[1] is None for step in pipeline.frame_steps for call in step.calls] == [True, False]  # type: ignore[attr-defined]
    assert torch.equal(pipeline.run_frame(frame), frame.decode() + 2)


@pytest.mark.parametrize(
    "specs",
    [
        *([], ["overscan"], ["normalize"], ["blur"], ["resize:factor=2"], ["pad:height=9,width=9"], ["crop:height=3,width=2"]),
        *(["normalize", "pad:height=9,width=9"], ["normalize", "pad:height=6,width=8"], ["normalize", "crop:height=3,width=2"]),
        ["resize:factor=1", "normalize", "crop:height=6,width=8", "pad:height=6,width=8"],
    ],
)
def test_run_frame_gives_the_same_with_and_without_out(specs: list[str]) -> None:
    pipeline = Pipeline(specs)
    for frame in (electrons(), read_frame(np.arange(48, dtype=np.uint16).reshape(6, 8))):
        before = frame.pixels.clone()
        result = pipeline.run_frame(frame)
        out = torch.full(pipeline.output_shape(frame.shape), -1.0)
        assert pipeline.run_frame(frame, out=out) is out
        assert torch.equal(out, result)
        assert tuple(result.shape) == pipeline.output_shape(frame.shape)
        assert torch.equal(frame.pixels, before)


def test_run_frame_writes_into_out_before_steps_that_find_the_size_right(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, out = Pipeline(["resize:height=6", "normalize", "pad:height=6,width=8"]), torch.empty(1, 6, 8)
    monkeypatch.setattr(Frame, "decode", None)  # what would copy the result into its place
    assert pipeline.run_frame(electrons(), out=out) is out


def test_run_frame_gives_out_to_no_step_whose_result_is_framed_later() -> None:
    steps = {"plain": lambda: Scripted("frame", "any", "same"), "framing": Framing}
    pipeline = Pipeline(["plain", "framing"], Registry.from_plugins([Plugin(steps)]))
    plain, out = pipeline.frame_steps[0], torch.empty(1, 9, 9)
    pipeline.run_frame(electrons(), out=out)
    pipeline.run_frame(read_frame(np.zeros((9, 9), dtype=np.float32)), out=out)
    assert [call[1] is None for call in plain.calls] == [True, False]  # type: ignore[attr-defined]


def test_run_frame_refuses_out_of_another_shape() -> None:
    for specs in ([], ["resize:factor=2"], ["pad:height=9,width=9"], ["normalize"]):
        with pytest.raises(InputShapeError):
            Pipeline(specs).run_frame(electrons(), out=torch.empty(1, 5, 5))


def test_random_frame_steps_need_a_generator() -> None:
    registry = Registry.from_plugins([Plugin({"wobble": lambda: Scripted("frame", "any", "same", random=True)})])
    pipeline = Pipeline(["wobble"], registry)
    frame, out = electrons(), torch.empty(1, 6, 8)
    assert torch.equal(pipeline.run_frame(frame), frame.decode())
    assert torch.equal(pipeline.run_frame(frame, out=out), frame.decode())
    assert torch.equal(pipeline.run_frame(frame, generator=torch.Generator()), frame.decode() + 1)


def test_run_batch_hands_each_frame_its_generator() -> None:
    registry = Registry.from_plugins(
        [
            Plugin(
                {
                    "batch-fixed": lambda: Scripted("batch", "any", "same"),
                    "batch-random": lambda: Scripted("batch", "any", "same", random=True),
                }
            )
        ]
    )
    pipeline = Pipeline(["batch-fixed", "batch-random"], registry)
    batch = torch.zeros(2, 1, 3, 4)
    assert torch.equal(pipeline.run_batch(batch), batch + 1)

    def drawn(*seeds: int) -> torch.Tensor:
        return pipeline.run_batch(batch, generators=[torch.Generator().manual_seed(seed) for seed in seeds])[:, 0, 0, 0]

    assert torch.equal(drawn(1, 2), drawn(2, 1).flip(0))
    assert drawn(1, 2)[0] != drawn(1, 2)[1]
    assert not batch.any()
    with pytest.raises(InputShapeError, match=r"2 frames needs as many generators, got 1"):
        pipeline.run_batch(batch, generators=[torch.Generator()])


def test_empty_pipeline_decodes() -> None:
    assert Pipeline([]).run_frame(read_frame(np.array([[1, 2]], np.int16))).tolist() == [[[1.0, 2.0]]]
    assert str(Pipeline([])) == ""


@pytest.mark.parametrize("size", [(64, 128), (65, 128), (200, 300), (10, 12), (40, 400), (300, 20), (1, 1)])
def test_default_pipeline_takes_frames_of_any_size(size: tuple[int, int]) -> None:
    pipeline = Pipeline(default_pipeline((1, 64, 128)))
    frame = read_frame(np.random.default_rng(0).normal(100, 5, size).astype(np.float32))
    assert pipeline.output_shape(frame.shape) == (1, 64, 128)
    image = pipeline.run_frame(frame)
    assert tuple(image.shape) == (1, 64, 128)
    assert float(image.min()) >= 0
    assert float(image.max()) <= 1


def test_default_pipeline_does_not_take_its_limits_from_padding() -> None:
    data = np.random.default_rng(0).normal(100, 5, (8, 8)).astype(np.float32)
    alone = Pipeline(default_pipeline((1, 8, 8))).run_frame(read_frame(data))
    padded = Pipeline(default_pipeline((1, 64, 128))).run_frame(read_frame(data))
    assert torch.equal(padded[:, 28:36, 60:68], alone)
    assert padded[0, 0, 0] == alone.median()


def test_default_pipeline_does_not_depend_on_brightness_or_bias() -> None:
    data = np.random.default_rng(0).gamma(2.0, 50.0, (32, 64)).astype(np.float32)
    pipeline = Pipeline(default_pipeline((1, 32, 64)))
    torch.testing.assert_close(pipeline.run_frame(read_frame(data * 7 + 300)), pipeline.run_frame(read_frame(data)), atol=2e-5, rtol=0)


@pytest.mark.parametrize("shape", [(3, 64, 128), (64, 128), (1, 0, 128)])
def test_default_pipeline_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(PipelineError, match=r"shape \(1, H, W\)"):
        default_pipeline(shape)


def test_specs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        StepSpec("blur").name = "pad"  # type: ignore[misc]


def test_a_step_that_always_draws_gets_a_generator_of_the_frame() -> None:
    def build(seed: int) -> Scripted:
        return Scripted("frame", "any", "same", random="always")  # type: ignore[arg-type]

    class Seeded:
        @zoo.hookimpl
        def register_steps(self, register: Callable[..., None]) -> None:
            register("wobble", build, scope="frame", options={"seed": zoo.Option(int, 0)})

    registry = Registry.from_plugins([Seeded()])

    def states(steps: list[str], value: float = 1.0) -> list[int]:
        pipeline = Pipeline(steps, registry)
        pipeline.run_frame(read_frame(np.full((4, 8), value, np.float32)))
        return [step.calls[0][0].initial_seed() for step in pipeline.frame_steps]  # type: ignore[attr-defined]

    first, second = states(["wobble", "wobble"])
    assert first != second
    assert states(["wobble", "wobble"]) == [first, second]
    assert states(["wobble:seed=1"]) != [first]
    assert states(["wobble"], 2.0) != [first]
    given = torch.Generator()
    pipeline = Pipeline(["wobble"], registry)
    pipeline.run_frame(read_frame(np.ones((4, 8), np.float32)), generator=given)
    assert pipeline.frame_steps[0].calls[0][0] is given  # type: ignore[attr-defined]
