"""Weights from elsewhere: where they come from, how they are fitted, what is told, what is refused."""

from __future__ import annotations

import argparse
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from local_server import Site, serve
from safetensors.torch import save_file
from torch import Tensor, nn

import zoo
from zoo import download as download_module
from zoo.entries import Entry
from zoo.errors import NetworkError, PluginError, StorageError, UnknownNameError, UsageError, WeightsError
from zoo.models import PretrainedReport, load_pretrained
from zoo.models.directory import make_card, save_model
from zoo.registry import Registry, get_registry


class Net(nn.Module):
    def __init__(self, channels: int = 1, classes: int = 2, width: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.norm(self.conv(image))).mean((2, 3)))
        return logits


ENTRY = Entry("models", "net", "test", "tests:net", metadata={"weights": {}})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download_module, "RETRY_DELAY_S", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as running:
        yield running


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def write(path: Path, content: Any) -> Path:
    path.write_bytes(saved(content))
    return path


def load(model: nn.Module, source: str | Path, entry: Entry = ENTRY) -> PretrainedReport:
    return load_pretrained(model, source, entry=entry)


def registered(**facts: str) -> Entry:
    return Entry("models", "net", "test", "tests:net", metadata={"weights": {"imagenet": facts}})


def same(model: nn.Module, state: dict[str, Tensor]) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[name], tensor) for name, tensor in state.items())


# Kinds of files.


def test_safetensors_and_both_formats_of_torch_are_read(tmp_path: Path) -> None:
    state = Net().state_dict()
    save_file(state, tmp_path / "a.safetensors")
    write(tmp_path / "b.pth", state)
    torch.save(state, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "b.pth", "c.pt"):
        model = Net()
        report = load(model, tmp_path / name)
        assert same(model, state)
        assert set(report.loaded) == set(state)
        assert (report.adapted, report.replaced, report.unused, report.missing, report.notes) == ({}, (), (), (), ())
        assert report.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert report.summary().splitlines() == [
            f"pretrained {tmp_path / name}: SHA-256 {report.sha256[:12]}",
            "9 tensors loaded",
        ]


@pytest.mark.parametrize("container", ["state_dict", "model_state_dict", "model"])
def test_checkpoints_and_wrapped_models_are_understood(tmp_path: Path, container: str) -> None:
    state = Net().state_dict()
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
    model = Net()
    report = load(model, write(tmp_path / "x.pth", {"epoch": 3, container: wrapped, "optimizer": {"lr": 0.1}}))
    assert same(model, state)
    assert report.notes == (
        f"taken from {container!r} of the checkpoint; not used: epoch, optimizer",
        "names began with 'module.' (DistributedDataParallel)",
        "names began with '_orig_mod.' (torch.compile)",
    )


def test_prefix_that_the_model_has_itself_stays(tmp_path: Path) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Net()

    state = Holder().state_dict()
    report = load(Holder(), write(tmp_path / "x.pth", state))
    assert report.loaded == tuple(state)


def test_run_and_model_directory_of_another_variant_are_read(tmp_path: Path) -> None:
    entry = get_registry().get("models", "hrcn")
    shape = {"input_shape": (1, 64, 128), "padding": "same"}
    trained = zoo.create_model("hrcn", **shape)
    pipeline = zoo.Pipeline.from_list([])
    options = entry.parse_options({"padding": "same"})
    facts: dict[str, Any] = {"pipeline": pipeline, "domain": "simulated", "products": ["raw"], "training": {}}
    card = make_card(entry, options, input_shape=(1, 64, 128), labels=("galaxy", "NSC"), **facts)
    folder = save_model(tmp_path / "run" / "model", trained, card)
    with torch.device("meta"):
        published = zoo.create_model("hrcn")
    published = published.to_empty(device="cpu")
    report = load_pretrained(published, tmp_path / "run", entry=entry)
    assert same(published, trained.state_dict())
    assert len(report.loaded) == len(trained.state_dict())
    assert report.trained_on == "frames of the domain simulated"
    assert report.notes == ("from hrcn[padding=same], classes galaxy, NSC",)
    (folder / "card.json").write_text("{}")
    with pytest.raises(StorageError, match="changed or damaged"):
        load_pretrained(published, folder, entry=entry)


class Trap:
    """Runs code when it is unpickled as Python would by default."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("trapped"),)  # type: ignore[return-value]


def test_code_in_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in ({"x": Trap()}, {"state_dict": Net().state_dict(), "args": argparse.Namespace(lr=1)}, Net()):
        with pytest.raises(
            WeightsError, match=r"holds Python objects \(\S+\) beside tensors.*torch\.save\(model\.state_dict\(\)"
        ) as caught:
            load(Net(), write(tmp_path / "x.pth", content))
        assert "weights_only=False" not in str(caught.value)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(Net().state_dict())[:1500], "may be cut short"),
        (b"PK\x03\x04", "may be cut short"),
        (b"\x80\x02garbage", "may be cut short"),
        ((64).to_bytes(8, "little") + b'{"conv.weight":{"dtype":"F32","shape":[3', "may be cut short"),
        (b"<!DOCTYPE html><html>Sign in", "got a web page, expected weights"),
        (b"SIMPLE  =                    T", "starts with b'SIMPLE  '"),
        (b"", "got an empty file"),
        (saved([1, 2]), "got a list, expected a state dict"),
        (saved({"epoch": 3, "lr": 0.1}), "got a mapping of epoch, lr; expected tensors by name"),
        (saved({}), "got a mapping of nothing"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    model = Net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError, match=words) as caught:
        load(model, path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 3
    assert same(model, before)


# Fitting.


@pytest.mark.parametrize(
    ("given", "own", "how"), [(3, 1, "summed over 3 channels"), (1, 3, "summed over 1 channels and shared by 3"), (3, 4, "shared by 4")]
)
def test_first_convolution_gives_the_same_for_equal_channels(tmp_path: Path, given: int, own: int, how: str) -> None:
    trained, model = Net(given).eval(), Net(own).eval()
    report = load(model, write(tmp_path / "x.pth", trained.state_dict()))
    assert how in report.adapted["conv.weight"]
    assert "conv.weight" in report.loaded
    assert f"conv.weight {report.adapted['conv.weight']}" in report.summary()
    image = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(model(image.expand(-1, own, -1, -1)), trained(image.expand(-1, given, -1, -1)))


def test_red_green_blue_are_summed(tmp_path: Path) -> None:
    trained, model = Net(3), Net(1)
    load(model, write(tmp_path / "x.pth", trained.state_dict()))
    assert torch.equal(model.conv.weight, trained.conv.weight.sum(1, keepdim=True))


def test_head_for_other_classes_stays_as_initialised(tmp_path: Path) -> None:
    trained, model = Net(classes=1000), Net(classes=2)
    before = model.head.weight.clone()
    report = load(model, write(tmp_path / "x.pth", trained.state_dict()))
    assert report.replaced == ("head.weight", "head.bias")
    assert not set(report.replaced) & set(report.loaded)
    assert torch.equal(model.head.weight, before)
    assert "2 of the head kept as initialised (other number of classes): head.weight, head.bias" in report.summary()


def test_every_other_name_is_told(tmp_path: Path) -> None:
    state = Net().state_dict()
    state["extra.weight"] = torch.zeros(1)
    del state["norm.bias"], state["norm.num_batches_tracked"]
    report = load(Net(), write(tmp_path / "x.pth", state))
    assert report.unused == ("extra.weight",)
    assert report.missing == ("norm.bias", "norm.num_batches_tracked")
    assert "2 not in the file, kept as initialised: norm.bias, norm.num_batches_tracked" in report.summary()
    assert "1 of the file not used: extra.weight" in report.summary()
    assert set(report.loaded) | set(report.missing) == set(Net().state_dict())


def test_dtype_of_the_model_stays(tmp_path: Path) -> None:
    trained, model = Net(3).half(), Net(1)
    load(model, write(tmp_path / "x.pth", trained.state_dict()))
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert torch.equal(model.head.weight, trained.head.weight.float())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"norm.weight": torch.zeros(5)}, "norm.weight: file 5, model 3"),
        ({"conv.weight": torch.zeros(3, 3, 5, 5)}, "conv.weight: file 3x3x5x5, model 3x1x3x3"),
        ({"head.weight": torch.zeros(2, 7)}, "head.weight: file 2x7, model 2x3"),
        ({"conv.bias": torch.zeros(3, dtype=torch.int64)}, "conv.bias: file torch.int64, model torch.float32"),
        ({"conv.bias": torch.full((3,), torch.nan)}, "NaN or infinity in conv.bias"),
    ],
)
def test_what_does_not_fit_changes_nothing(tmp_path: Path, change: dict[str, Tensor], words: str) -> None:
    model = Net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError, match=words):
        load(model, write(tmp_path / "x.pth", Net().state_dict() | change))
    assert same(model, before)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"features.0.weight": torch.zeros(2)})
    with pytest.raises(WeightsError, match=r"none of its names is in the model; it has features\.0\.weight; the model has conv\.weight"):
        load(Net(), path)
    with torch.device("meta"):
        models = [zoo.create_model(name, input_shape=(1, 64, 128)).to_empty(device="cpu") for name in ("resnet18", "resnet50")]
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv1\.weight: file .*and \d+ more; is it of another architecture"):
        load(models[0], write(tmp_path / "y.pth", models[1].state_dict()))


# Where they come from.


def test_registered_weights_are_fetched_verified_and_kept(site: Site, cache: Path) -> None:
    state = Net().state_dict()
    site.files["/net.pth"] = saved(state)
    digest = hashlib.sha256(site.files["/net.pth"]).hexdigest()
    entry = registered(url=f"{site.url}/net.pth", sha256=digest[:8], licence="CC0", trained_on="photographs")
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        model = Net()
        report = load_pretrained(model, "imagenet", entry=entry, progress=lambda *counts: seen.append(counts))
        assert same(model, state)
    assert (report.source, report.sha256, report.licence, report.trained_on) == ("imagenet", digest, "CC0", "photographs")
    assert report.summary().startswith(f"pretrained imagenet: SHA-256 {digest[:12]}, trained on photographs, licence: CC0\n")
    assert len(site.requests) == 1
    assert seen == [(len(site.files["/net.pth"]),) * 2]
    assert [path.parent for path in cache.rglob("*.pth")] == [cache / "weights"]


def test_wrong_hash_and_missing_file_leave_nothing(site: Site, cache: Path) -> None:
    site.files["/net.pth"] = saved(Net().state_dict())
    with pytest.raises(StorageError, match="expected 00000000"):
        load(Net(), "imagenet", registered(url=f"{site.url}/net.pth", sha256="0" * 8))
    with pytest.raises(NetworkError, match="404"):
        load(Net(), "imagenet", registered(url=f"{site.url}/gone.pth", sha256="0" * 8))
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_url_is_verified_where_it_says_how(site: Site) -> None:
    site.files["/net.pth"] = saved(Net().state_dict())
    digest = hashlib.sha256(site.files["/net.pth"]).hexdigest()
    report = load(Net(), f"{site.url}/net.pth")
    assert report.notes == (f"not verified: no hash was given; to pin this file write {site.url}/net.pth#sha256={digest}",)
    assert load(Net(), f"{site.url}/net.pth#sha256={digest}").notes == ()
    with pytest.raises(StorageError, match=f"SHA-256 is {digest}"):
        load(Net(), f"{site.url}/net.pth#sha256={'1' * 64}")
    for fragment in ("md5=0", "sha256=", "sha256=0"):
        with pytest.raises(UsageError, match=r"hexadecimal digits|expected '#sha256='"):
            load(Net(), f"{site.url}/net.pth#{fragment}")


def test_unknown_source_says_what_there_is(tmp_path: Path) -> None:
    entry = registered(url="http://x/y", sha256="0" * 8)
    with pytest.raises(UnknownNameError, match=r"did you mean 'imagenet'\? net has the weights: imagenet\. A path to a file or a run, or"):
        load(Net(), "imagnet", entry)
    with pytest.raises(UnknownNameError, match="No weights are registered for net"):
        load(Net(), tmp_path / "absent.pth")
    with pytest.raises(PluginError, match="without sha256"):
        load(Net(), "imagenet", registered(url="http://x/y"))


def test_every_registered_file_of_weights_is_complete() -> None:
    for entry in Registry.from_plugins([]).entries("models"):
        for name, facts in entry.metadata["weights"].items():
            assert set(facts) == {"url", "sha256", "licence", "trained_on"}, (entry.name, name)
            assert all(facts.values())
            assert facts["url"].endswith(f"-{facts['sha256']}.pth")
            assert facts["url"].rpartition("/")[2].startswith(f"{entry.name}-")


def test_architecture_may_be_given_by_name() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'imagenet1k-v1'\? resnet18 has the weights"):
        load_pretrained(Net(), "imagenet1k", entry="resnet18")
    with pytest.raises(UnknownNameError, match="unknown model 'resnet19'"):
        load_pretrained(Net(), "imagenet1k", entry="resnet19")
