"""The registry: lazy registration, isolation with roll-back, clashes, suggestions, switches, options."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import zoo
from zoo import registry as registry_module
from zoo.entries import Entry, Option
from zoo.errors import AmbiguousNameError, PluginError, UnknownNameError, UsageError
from zoo.hookspecs import API_VERSION
from zoo.registry import KINDS, Registry, get_registry, use_registry


def make_plugin(name: str, **hooks: Callable[..., None]) -> ModuleType:
    """A plugin module whose hooks are the given functions."""
    module = ModuleType(name)
    for hook, function in hooks.items():
        setattr(module, hook, zoo.hookimpl(function))
    return module


def models_plugin(name: str, *models: str) -> ModuleType:
    def register_models(register: Callable[..., None]) -> None:
        for model in models:
            register(model, f"{name}.net:build", input_shape=(1, 64, 128))

    return make_plugin(name, register_models=register_models)


def third_party(registry: Registry) -> list[str]:
    """The models that zoo does not ship itself."""
    return [name for name in registry.names("models") if registry.get("models", name).owner != "zoo"]


@pytest.fixture
def no_global_registry() -> Iterator[None]:
    """Whatever a test configures, the next one starts from the real registry."""
    before = registry_module._registry, dict(registry_module._configuration)
    registry_module._registry = None
    yield
    registry_module._registry, configuration = before
    registry_module._configuration.clear()
    registry_module._configuration.update(configuration)


def test_builtins_load_without_failure() -> None:
    registry = Registry.from_plugins([])
    assert registry.failures == []
    assert [plugin.name for plugin in registry.plugins] == ["zoo"]
    assert "hrcn" in registry.names("models")
    assert {"overscan", "normalize", "blur", "resize", "pad", "crop", "flip", "rotate"} <= set(registry.names("steps"))
    assert {"simulated", "simulated:full", "simulated:shifted"} <= set(registry.names("datasets"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_builtin_reference_resolves(kind: str) -> None:
    for entry in Registry.from_plugins([]).entries(kind):
        assert callable(entry.load())
        assert entry.summary
        assert entry.licence


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from zoo.registry import get_registry; get_registry().names('models');"
        "heavy = {'torch', 'numpy', 'astropy', 'rich', 'zoo.plugins.hrcn'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_hooks_of_all_six_kinds_register() -> None:
    extra = {"models": {"input_shape": (1, 8, 8)}, "steps": {"scope": "frame"}, "commands": {"help": "Does it."}}

    def hook_for(kind: str) -> Callable[..., None]:
        def hook(register: Callable[..., None]) -> None:
            register("thing", "somewhere:build", **extra.get(kind, {}))

        return hook

    registry = Registry.from_plugins([make_plugin("six", **{f"register_{kind}": hook_for(kind) for kind in KINDS})])
    assert registry.failures == []
    assert registry.plugins[-1].counts == dict.fromkeys(KINDS, 1)
    for kind in KINDS:
        assert registry.get(kind, "thing").owner == "six"


def test_plugin_that_raises_is_rolled_back_and_named() -> None:
    def register_models(register: Callable[..., None]) -> None:
        register("early", "bad.net:build", input_shape=(1, 8, 8))

    def register_steps(register: Callable[..., None]) -> None:
        raise RuntimeError("no detector today\nsecond line")

    bad = make_plugin("bad", register_models=register_models, register_steps=register_steps)
    registry = Registry.from_plugins([bad, models_plugin("good", "later")])
    assert [(failure.plugin, failure.cause) for failure in registry.failures] == [("bad", "RuntimeError: no detector today")]
    assert "early" not in registry.names("models")
    assert "later" in registry.names("models")
    with pytest.raises(UnknownNameError, match="unknown model 'bad:early'"):
        registry.get("models", "bad:early")


def test_plugin_with_misspelt_hook_is_refused() -> None:
    plugin = make_plugin("typo", register_model=lambda register: None)
    registry = Registry.from_plugins([plugin, models_plugin("good", "later")])
    assert len(registry.failures) == 1
    assert "register_model" in registry.failures[0].cause
    assert "later" in registry.names("models")


def test_plugin_with_wrong_hook_argument_is_refused() -> None:
    registry = Registry.from_plugins([make_plugin("args", register_models=lambda registrar: None)])
    assert "registrar" in str(registry.failures[0].error)


def test_plugin_without_hooks_is_refused() -> None:
    assert "no function marked" in Registry.from_plugins([ModuleType("idle")]).failures[0].cause


@pytest.mark.parametrize(
    ("api", "words"),
    [(API_VERSION + 1, f"plugin API {API_VERSION + 1}, this zoo offers {API_VERSION}"), ("1", "positive integer"), (0, "positive integer")],
)
def test_plugin_api_is_checked(api: object, words: str) -> None:
    plugin = models_plugin("future", "tomorrow")
    plugin.zoo_api = api  # type: ignore[attr-defined]
    registry = Registry.from_plugins([plugin])
    assert words in registry.failures[0].cause
    assert "tomorrow" not in registry.names("models")


def test_name_registered_twice_by_one_plugin_is_refused() -> None:
    registry = Registry.from_plugins([models_plugin("twice", "net", "net")])
    assert registry.failures[0].cause == "it registers the model 'net' twice"


def test_same_plugin_name_twice_is_refused() -> None:
    registry = Registry.from_plugins([models_plugin("one", "a"), models_plugin("one", "b")])
    assert registry.failures[0].cause == "a plugin named 'one' is already loaded"
    assert third_party(registry) == ["a"]


def test_clash_with_a_builtin_keeps_the_builtin_and_names_both() -> None:
    registry = Registry.from_plugins([models_plugin("rival", "hrcn", "other")])
    assert "'zoo' and 'rival'" in registry.failures[0].cause
    assert registry.get("models", "hrcn").owner == "zoo"
    assert registry.get("models", "zoo:hrcn").owner == "zoo"
    assert registry.get("models", "rival:hrcn").owner == "rival"
    assert third_party(registry) == ["other", "rival:hrcn"]


def test_clash_of_third_parties_is_an_error_that_names_both() -> None:
    registry = Registry.from_plugins([models_plugin("left", "net"), models_plugin("right", "net")])
    with pytest.raises(AmbiguousNameError, match=r"registered by left and right: say 'left:net' or 'right:net'"):
        registry.get("models", "net")
    assert registry.get("models", "right:net").owner == "right"
    assert {"left:net", "right:net"} <= set(registry.names("models"))


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model 'hrnc'; did you mean 'hrcn'\? Run 'zoo models list'"):
        Registry.from_plugins([]).get("models", "hrnc")


def test_name_with_a_colon_is_looked_up_before_owner_and_name() -> None:
    registry = Registry.from_plugins([])
    assert registry.get("datasets", "simulated:full").name == "simulated:full"
    assert registry.get("datasets", "zoo:simulated:full").name == "simulated:full"


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({}, "needs input_shape"),
        ({"input_shape": (1, 2)}, "needs input_shape"),
        ({"input_shape": (1, 8, 8), "colour": 1}, "unknown keywords ['colour']"),
        ({"input_shape": (1, 8, 8), "options": {"width": 3}}, "must be a zoo.Option, got int"),
        ({"input_shape": (1, 8, 8), "options": {"width": Option(int, "wide")}}, "default of option width must be int"),
        ({"input_shape": (1, 8, 8), "options": {"width": Option(int, "16")}}, "option width must be int, got '16', which is str"),
        ({"input_shape": (1, 8, 8), "options": {"width": Option(int, True)}}, "option width must be int, got True, which is bool"),
        ({"input_shape": (1, 8, 8), "options": {"width": Option(int, 2.0)}}, "option width must be int, got 2.0, which is float"),
        ({"input_shape": (1, 8, 8), "options": {"deep": Option(bool, 1)}}, "option deep must be bool, got 1, which is int"),
        ({"input_shape": (1, 8, 8), "options": {"kind": Option(str, "c", choices=("a",))}}, "option kind must be one of a; got 'c'"),
    ],
)
def test_register_refuses_bad_metadata(keywords: dict[str, object], words: str) -> None:
    plugin = make_plugin("bad", register_models=lambda register: register("net", "bad:build", **keywords))
    assert words in Registry.from_plugins([plugin]).failures[0].cause


def test_whole_number_is_a_default_of_a_float() -> None:
    options = {"rate": Option(float, 1)}
    plugin = make_plugin("fine", register_models=lambda register: register("net", "fine:build", input_shape=(1, 8, 8), options=options))
    registry = Registry.from_plugins([plugin])
    assert registry.failures == []
    assert registry.get("models", "net").options == options


@pytest.mark.parametrize(("name", "build"), [("a b", "m:f"), ("", "m:f"), ("a", "no reference"), ("a", None), ("a:b:c", "m:f")])
def test_register_refuses_bad_name_or_reference(name: str, build: object) -> None:
    plugin = make_plugin("bad", register_losses=lambda register: register(name, build))
    assert isinstance(Registry.from_plugins([plugin]).failures[0].error, PluginError)


def test_missing_reference_is_named_when_it_is_loaded() -> None:
    registry = Registry.from_plugins([models_plugin("ghost", "net")])
    with pytest.raises(PluginError, match=r"ghost:net: cannot load 'ghost.net:build': ModuleNotFoundError"):
        registry.get("models", "net").load()


@pytest.mark.parametrize(
    ("option", "value", "parsed"),
    [
        (Option(int, 1), "64", 64),
        (Option(int, 1), 64.0, 64),
        (Option(float, 1.0), "1e-3", 1e-3),
        (Option(float, 1.0), 2, 2.0),
        (Option(bool, False), "yes", True),
        (Option(bool, True), "0", False),
        (Option(str, "a", choices=("a", "b")), "b", "b"),
    ],
)
def test_option_parses(option: Option, value: object, parsed: object) -> None:
    result = option.parse(value, name="x")
    assert result == parsed
    assert type(result) is type(parsed)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        (Option(int, 1), "wide", "x must be int, got 'wide'"),
        (Option(int, 1), 1.5, "x must be int, got 1.5"),
        (Option(int, 1), True, "x must be int"),
        (Option(bool, True), "maybe", "x must be bool"),
        (Option(str, "a"), 3, "x must be str"),
        (Option(str, "a", choices=("a", "b")), "c", "x must be one of a, b; got 'c'"),
    ],
)
def test_option_refuses(option: Option, value: object, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("'", "['\"]")):
        option.parse(value, name="x")


def test_entry_fills_defaults_refuses_unknown_options_and_labels_changes() -> None:
    entry = Entry("models", "net", "me", "m:f", options={"width": Option(int, 32), "deep": Option(bool, False)})
    assert entry.parse_options({"width": "64"}) == {"width": 64, "deep": False}
    with pytest.raises(UnknownNameError, match="unknown option 'widht'; did you mean 'width'"):
        entry.parse_options({"widht": 1})
    assert entry.label({"width": 64, "deep": False}) == "net[width=64]"
    assert entry.label(entry.parse_options({})) == "net"


def test_build_passes_arguments_and_options() -> None:
    def register_losses(register: Callable[..., None]) -> None:
        register("l", lambda *, class_weights, power: (class_weights, power), options={"power": Option(float, 2.0)})

    registry = Registry.from_plugins([make_plugin("p", register_losses=register_losses)])
    assert registry.build("losses", "l", options={"power": "3"}, class_weights=None) == (None, 3.0)


class FakePoint(SimpleNamespace):
    """An entry point whose load() returns, or raises, what it holds."""

    def load(self) -> object:
        if isinstance(self.plugin, Exception):
            raise self.plugin
        return self.plugin


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch, no_global_registry: None) -> None:
    points = [
        FakePoint(name="alpha", value="alpha", dist=None, plugin=models_plugin("alpha", "anet")),
        FakePoint(name="broken", value="broken", dist=None, plugin=ImportError("no module named 'cupy'")),
        FakePoint(name="beta", value="beta", dist=SimpleNamespace(name="zoo-beta", version="2.1"), plugin=models_plugin("beta", "bnet")),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    monkeypatch.delenv("ZOO_PLUGINS", raising=False)
    monkeypatch.delenv("ZOO_STRICT_PLUGINS", raising=False)


@pytest.mark.usefixtures("entry_points")
def test_entry_point_that_cannot_be_imported_leaves_the_others() -> None:
    registry = get_registry()
    assert third_party(registry) == ["anet", "bnet"]
    assert [(f.plugin, f.cause) for f in registry.failures] == [("broken", "ImportError: no module named 'cupy'")]
    assert registry.get("models", "bnet").distribution == "zoo-beta"
    assert registry.get("models", "bnet").version == "2.1"


@pytest.mark.usefixtures("entry_points")
@pytest.mark.parametrize(("value", "names"), [("beta", ["bnet"]), ("", []), ("alpha, beta", ["anet", "bnet"])])
def test_zoo_plugins_limits_third_parties(value: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_PLUGINS", value)
    assert third_party(get_registry()) == names
    assert get_registry().failures == []


@pytest.mark.usefixtures("entry_points")
def test_zoo_plugins_with_an_absent_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_PLUGINS", "gamma")
    assert "installed: alpha, beta, broken" in get_registry().failures[0].cause


@pytest.mark.usefixtures("entry_points")
def test_safe_loads_no_third_party() -> None:
    registry_module.configure(safe=True)
    assert third_party(get_registry()) == []


@pytest.mark.usefixtures("entry_points")
def test_strict_makes_a_failure_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="broken"):
        get_registry()


def test_strict_refuses_other_values(monkeypatch: pytest.MonkeyPatch, no_global_registry: None) -> None:
    monkeypatch.setenv("ZOO_STRICT_PLUGINS", "maybe")
    with pytest.raises(UsageError, match="ZOO_STRICT_PLUGINS must be 0 or 1"):
        get_registry()


@pytest.mark.usefixtures("entry_points")
def test_plugin_file_takes_the_place_of_an_installed_plugin_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "alpha.py"
    path.write_text("import zoo\n@zoo.hookimpl\ndef register_models(register):\n    register('filenet', 'a:b', input_shape=(1, 8, 8))\n")
    registry = Registry.load(files=[path])
    assert third_party(registry) == ["bnet", "filenet"]
    assert [failure.plugin for failure in registry.failures] == ["broken"]


def test_failure_says_where_loading_ended() -> None:
    def raising(register: Callable[..., None]) -> None:
        raise ValueError("no")

    future = models_plugin("future", "f")
    future.zoo_api = API_VERSION + 1  # type: ignore[attr-defined]
    plugins = [future, make_plugin("typo", register_model=raising), make_plugin("bad", register_models=raising), models_plugin("x", "hrcn")]
    registry = Registry.from_plugins(plugins)
    assert [failure.stage for failure in registry.failures] == ["api", "hooks", "register", "clash"]
    assert [failure.loaded for failure in registry.failures] == [False, False, False, True]
    assert registry.module("x") is plugins[-1]
    assert registry.module("typo") is None


def test_use_registry_restores_the_former(no_global_registry: None) -> None:
    mine = Registry.from_plugins([])
    with use_registry(mine):
        assert get_registry() is mine
    assert registry_module._registry is None
