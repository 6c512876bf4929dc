"""Prepared models give the logits of the plain ones, whatever the network does, and leave the network alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import zoo
from zoo.errors import UsageError
from zoo.models import Prepared, prepare_inference

SHAPE = (1, 64, 128)
TOLERANCE = {"fp32": 1e-5, "bf16": 3e-2}  # of the largest logit


class Net(nn.Module):
    """Layers by name and a forward that uses them."""

    def __init__(self, act: Callable[[Net, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.act = act
        self.head = nn.Linear(4, 2)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.act(self, image).mean((2, 3)))


def conv(channels: int = 1, **options: int | bool) -> nn.Conv2d:
    return nn.Conv2d(channels, 4, 3, padding=1, **options)


def used_twice(net: Net, image: Tensor) -> Tensor:
    first = net.norm(net.conv(image))
    return first + net.conv(image[:, :, 1:-1])[:, :, :1]


def rectified_in_place_and_read_again(net: Net, image: Tensor) -> Tensor:
    value = net.conv(image)
    return torch.relu_(value) + value


def part_rectified_in_place(net: Net, image: Tensor) -> Tensor:
    value = net.conv(image)
    F.relu(value[:, :2], inplace=True)
    return value


def summed_in_place(net: Net, image: Tensor) -> Tensor:
    value = net.norm(net.conv(image))
    value += net.other(image)
    return torch.relu(value + image)  # of four channels and one


def by_view(net: Net, image: Tensor) -> Tensor:
    value = net.conv(image)
    return net.row(value.view(value.size(0), -1)).view_as(value[:, :, 0, 0]).view(-1, 4, 1, 1)


def decides(net: Net, image: Tensor) -> Tensor:
    return net.norm(net.conv(image if image.shape[0] > 1 else image * 2))


def reads_layout(net: Net, image: Tensor) -> Tensor:
    value = net.conv(image)
    return value * value.stride(2) / value.size(3)


def in_sequence(net: Net, image: Tensor) -> Tensor:
    sequence = net.row(image.mean(2).expand(-1, 4, -1))  # (N, 4, W)
    return net.norm(sequence).unsqueeze(-1)


ODD: dict[str, tuple[Callable[[], nn.Module], int]] = {  # name -> network, layers that can be folded
    "used-twice": (lambda: Net(used_twice, conv=conv(), norm=nn.BatchNorm2d(4)), 0),
    "without-affine": (lambda: Net(lambda n, x: n.norm(n.conv(x)), conv=conv(bias=False), norm=nn.BatchNorm2d(4, affine=False)), 1),
    "batch-statistics": (
        lambda: Net(lambda n, x: n.norm(n.conv(x)), conv=conv(), norm=nn.BatchNorm2d(4, track_running_stats=False)),
        0,
    ),
    "norm-first": (lambda: Net(lambda n, x: n.conv(F.relu(n.norm(x))), conv=conv(), norm=nn.BatchNorm2d(1)), 0),
    "read-again": (lambda: Net(rectified_in_place_and_read_again, conv=conv()), 0),
    "part-in-place": (lambda: Net(part_rectified_in_place, conv=conv()), 0),
    "summed": (lambda: Net(summed_in_place, conv=conv(), norm=nn.BatchNorm2d(4), other=conv()), 1),
    "view": (lambda: Net(by_view, conv=conv(), row=nn.Linear(4 * 64 * 128, 4)), 0),
    "pool-with-indices": (
        lambda: Net(lambda n, x: n.pool(F.relu(n.conv(x)))[0], conv=conv(), pool=nn.MaxPool2d(2, return_indices=True)),
        0,
    ),
    "sequence": (lambda: Net(in_sequence, row=nn.Linear(128, 4), norm=nn.BatchNorm1d(4)), 0),
    "row": (
        lambda: Net(lambda n, x: n.norm(n.row(x.mean(2).flatten(1)))[..., None, None], row=nn.Linear(128, 4), norm=nn.BatchNorm1d(4)),
        1,
    ),
    "weight-by-hook": (lambda: Net(lambda n, x: n.norm(n.conv(x)), conv=spectral_norm(conv()), norm=nn.BatchNorm2d(4)), 0),
    "grouped": (lambda: Net(lambda n, x: n.norm(n.conv(x.expand(-1, 4, -1, -1))), conv=conv(4, groups=2), norm=nn.BatchNorm2d(4)), 1),
}


def settled(model: nn.Module) -> nn.Module:
    """The model in eval mode, with statistics as after a training."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            if module.affine:
                nn.init.uniform_(module.weight, -1.5, 1.5)
                nn.init.uniform_(module.bias, -0.2, 0.2)
    return model.eval()


def change(model: nn.Module, prepared: Prepared, image: Tensor) -> float:
    """Largest difference of the logits as a share of the largest logit, both in the precision of the prepared model."""
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16, enabled=prepared.precision == "bf16"):
            plain = model(image.clone()).float()
        return float((prepared(image.clone()).float() - plain).abs().max() / plain.abs().max())


@pytest.mark.parametrize(
    ("name", "folded"), [("hrcn[padding=same]", 12), ("alexnet", 0), ("vgg11_bn", 8), ("resnet18", 20), ("resnet50", 53)]
)
def test_prepare_keeps_the_logits(name: str, folded: int) -> None:
    torch.manual_seed(0)
    name, _, option = name.partition("[")
    model = settled(zoo.create_model(name, input_shape=SHAPE, **({"padding": "same"} if option else {})))
    prepared = prepare_inference(model)
    assert (prepared.folded, prepared.plain_because) == (folded, "")
    assert change(model, prepared, torch.rand(1, *SHAPE)) <= TOLERANCE["fp32"]


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", ODD)
def test_prepare_keeps_the_logits_of_odd_networks(name: str, precision: str) -> None:
    torch.manual_seed(0)
    build, folded = ODD[name]
    model = settled(build())
    prepared = prepare_inference(model, precision=precision, input_shape=SHAPE)
    assert (prepared.folded, prepared.plain_because) == (folded, "")
    assert change(model, prepared, torch.rand(2, *SHAPE)) <= TOLERANCE[precision]


@pytest.mark.parametrize(("act", "reason"), [(decides, "cannot be traced: TraceError"), (reads_layout, "Tensor.stride")])
def test_prepare_says_why_a_model_runs_as_it_is(act: Callable[[Net, Tensor], Tensor], reason: str) -> None:
    torch.manual_seed(0)
    model = settled(Net(act, conv=conv(), norm=nn.BatchNorm2d(4)))
    prepared = prepare_inference(model, input_shape=SHAPE)
    assert reason in prepared.plain_because
    assert change(model, prepared, torch.rand(2, *SHAPE)) == 0


def test_prepare_leaves_hooks_of_the_whole_model_in_force() -> None:
    torch.manual_seed(0)
    model = settled(Net(lambda n, x: n.norm(n.conv(x)), conv=conv(), norm=nn.BatchNorm2d(4)))
    model.register_forward_hook(lambda module, args, logits: logits + 1)
    prepared = prepare_inference(model)
    assert "hooks" in prepared.plain_because
    assert change(model, prepared, torch.rand(2, *SHAPE)) == 0


def test_prepare_refuses_an_unknown_precision() -> None:
    with pytest.raises(UsageError, match="precision must be one of fp32, bf16, fp16, got 'int8'"):
        prepare_inference(nn.Conv2d(1, 1, 1), precision="int8")


class Locked(nn.Conv2d):
    """A model that cannot be copied."""

    def __deepcopy__(self, memo: object) -> Locked:
        raise TypeError("cannot copy an open file")


def test_prepare_takes_a_model_that_cannot_be_copied_in_eval_mode() -> None:
    model = Locked(1, 2, 3)
    with pytest.raises(UsageError, match=r"training mode; call model\.eval\(\)"):
        prepare_inference(model)
    prepared = prepare_inference(model.eval())
    assert prepared.plain_because == "it cannot be copied: TypeError: cannot copy an open file"
    assert prepared.model is model


def test_prepare_shares_what_it_does_not_change_and_changes_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(16), nn.Flatten(), nn.Linear(4 * 4 * 8, 2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prepared = prepare_inference(model, input_shape=SHAPE)
    with torch.inference_mode():
        prepared(torch.rand(1, *SHAPE))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert prepared.model.get_parameter("5.weight").data_ptr() == model[5].weight.data_ptr()
    assert prepared.model.get_parameter("0.weight").data_ptr() != model[0].weight.data_ptr()
    assert not any(parameter.requires_grad for parameter in prepared.parameters())


def test_prepare_lays_every_convolution_out_in_channels_last() -> None:
    """Also that of the first layer, whose kernels with one channel torch takes as NCHW and so computes a map that oneDNN has to copy."""
    torch.manual_seed(0)
    model = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1)).eval()
    prepared = prepare_inference(model, input_shape=SHAPE)
    maps: list[Tensor] = []
    for name in ("0", "4"):
        prepared.model.get_submodule(name).register_forward_hook(lambda module, args, output: maps.append(output))
    with torch.inference_mode():
        prepared(torch.rand(1, *SHAPE))
    assert [one.is_contiguous(memory_format=torch.channels_last) for one in maps] == [True, True]


def test_prepare_rectifies_after_the_pool_and_in_place() -> None:
    model = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), conv(4), nn.ReLU()).eval()
    names = [node.name for node in prepare_inference(model, input_shape=SHAPE).model.graph.nodes]  # type: ignore[union-attr]
    assert names == ["input_1", "_0", "_3", "relu", "_4", "relu_1", "output"]


def test_prepare_works_without_memory_for_the_weights() -> None:
    with torch.device("meta"):
        model = zoo.create_model("resnet18", input_shape=SHAPE)
    prepared = prepare_inference(model, precision="bf16")
    assert prepared.folded == 20
    assert {tensor.device.type for tensor in prepared.parameters()} == {"meta"}
    assert {tensor.dtype for tensor in prepared.parameters()} == {torch.bfloat16}


def test_prepare_streams_the_stem_where_it_is_asked_to_or_the_map_is_large() -> None:
    torch.manual_seed(0)
    model = settled(zoo.create_model("resnet18", input_shape=SHAPE))
    image = torch.rand(1, *SHAPE)
    for precision, tolerance in TOLERANCE.items():
        streamed = prepare_inference(model, precision=precision, stream=True)
        assert streamed.folded == 19  # the first one is part of the streamed stem
        assert change(model, streamed, image) <= tolerance
    assert prepare_inference(model).folded == 20
    with torch.device("meta"):
        large = zoo.create_model("resnet18", input_shape=(1, 1024, 2048))
    assert prepare_inference(large).folded == 19
    assert prepare_inference(large, stream=False).folded == 20
