from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pydantic import Field

from unisono import (
    AudioChunk,
    ConfigError,
    Engine,
    Kernel,
    ModelInfo,
    Params,
    PluginError,
    Settings,
    Task,
    hookimpl,
)
from unisono.fields import RESERVED
from unisono.plugins import PluginManager, PluginStatus

_numbers = itertools.count()
Install = Callable[..., str]

ENGINE = """
    from unisono import Engine, ModelInfo, Settings, Task, hookimpl

    class Made(Engine):
        name = "{engine}"

        @classmethod
        def presets(cls):
            return {{"{engine}-model": Settings()}}

        @classmethod
        def describe(cls, settings):
            return ModelInfo(Task.SPEECH)

        def synthesize(self, request):
            yield from ()

    @hookimpl
    def register_engines():
        return [Made]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a distribution of one module, and tells its name."""
    modules = []
    monkeypatch.syspath_prepend(tmp_path)

    def add(plugin: str, source: str, *, version: str = "1.2.3") -> str:
        module = f"unisono_fake_{next(_numbers)}"
        modules.append(module)
        distribution = module.replace("_", "-")
        (tmp_path / f"{module}.py").write_text(dedent(source))
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(f"[unisono]\n{plugin} = {module}\n")
        return distribution

    yield add
    for module in modules:
        sys.modules.pop(module, None)


def status(plugins: PluginManager, name: str) -> PluginStatus:
    (found,) = (status for status in plugins.statuses if status.name == name)
    return found


def imported(distribution: str) -> bool:
    return distribution.replace("-", "_") in sys.modules


def test_an_installed_plugin_is_found_by_its_entry_point(install: Install) -> None:
    distribution = install("fake", ENGINE.format(engine="fake_engine"))
    plugins = PluginManager.discover()
    assert status(plugins, "fake") == PluginStatus(
        "fake", distribution, "1.2.3", "active", ("fake_engine",)
    )
    engine, plugin = plugins.engines["fake_engine"]
    assert engine.__name__ == "Made"
    assert plugin == "fake"
    assert plugins.has_plugin("fake")


def test_a_kernel_serves_what_is_installed(install: Install) -> None:
    install("fake", ENGINE.format(engine="fake_engine"))
    assert Kernel.from_config().catalog.get("fake_engine-model").plugin == "fake"


@pytest.mark.parametrize(
    "source",
    [
        "import a_library_that_nobody_has",
        "raise RuntimeError('no licence')",
        "import sys; sys.exit('Python 4 is required')",
        "this is no Python",
    ],
)
def test_a_plugin_that_cannot_be_imported_is_reported_and_left_out(
    install: Install, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    install("broken", source)
    install("good", ENGINE.format(engine="good_engine"))
    plugins = PluginManager.discover()
    assert status(plugins, "broken").state.startswith("failed: ")
    assert status(plugins, "good").state == "active"
    assert "good_engine" in plugins.engines
    assert not plugins.has_plugin("broken")
    (warning,) = (r for r in caplog.records if r.levelno == logging.WARNING)
    assert "'broken'" in warning.getMessage()


def test_the_reason_of_a_failure_is_told(install: Install) -> None:
    install("broken", "import a_library_that_nobody_has")
    state = status(PluginManager.discover(), "broken").state
    assert state == "failed: ModuleNotFoundError: No module named 'a_library_that_nobody_has'"


def test_a_plugin_whose_registration_raises_is_left_out(install: Install) -> None:
    source = """
        from unisono import hookimpl

        @hookimpl
        def register_engines():
            {body}
    """
    install("raising", source.format(body="raise OSError('no device')"))
    install("forgetful", source.format(body="pass"))
    plugins = PluginManager.discover()
    assert "no device" in status(plugins, "raising").state
    assert status(plugins, "forgetful").state.startswith("failed")
    assert not plugins.has_plugin("raising")
    assert not plugins.has_plugin("forgetful")
    assert len(plugins.hook.register_engines.get_hookimpls()) == len(
        [s for s in plugins.statuses if s.engines]
    )


def test_a_disabled_plugin_is_not_even_imported(install: Install) -> None:
    distribution = install("heavy", "raise SystemError('imported')")
    plugins = PluginManager.discover(disabled=["heavy"])
    assert status(plugins, "heavy").state == "disabled"
    assert status(plugins, "heavy").distribution == distribution
    assert not imported(distribution)


def test_a_required_plugin_that_is_active_changes_nothing(install: Install) -> None:
    install("fake", ENGINE.format(engine="fake_engine"))
    assert "fake_engine" in PluginManager.discover(required=["fake"]).engines


def test_a_required_plugin_that_is_missing_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match=r"'absent'.*not installed.*pip install unisono-absent"):
        PluginManager.discover(required=["absent"])


def test_a_required_plugin_that_is_broken_says_why(install: Install) -> None:
    install("broken", "import a_library_that_nobody_has")
    with pytest.raises(ConfigError, match=r"'broken'.*a_library_that_nobody_has"):
        PluginManager.discover(required=["broken"])


def test_a_plugin_cannot_be_both_required_and_disabled(install: Install) -> None:
    install("fake", ENGINE.format(engine="fake_engine"))
    with pytest.raises(ConfigError, match=r"'fake'.*disabled"):
        PluginManager.discover(disabled=["fake"], required=["fake"])


def test_two_plugins_with_the_same_engine_are_both_named(install: Install) -> None:
    install("first", ENGINE.format(engine="twin"))
    install("second", ENGINE.format(engine="twin"))
    plugins = PluginManager.discover()
    assert status(plugins, "first").state == "active"
    state = status(plugins, "second").state
    assert "'first'" in state
    assert "'second'" in state
    assert "plugins.disabled" in state
    assert plugins.engines["twin"][1] == "first"
    other = PluginManager.discover(disabled=["first"])
    assert other.engines["twin"][1] == "second"


def test_two_distributions_with_the_same_plugin_name_are_both_listed(install: Install) -> None:
    names = {
        install("same", ENGINE.format(engine="one_engine")),
        install("same", ENGINE.format(engine="other_engine")),
    }
    plugins = PluginManager.discover()
    found = [status for status in plugins.statuses if status.name == "same"]
    assert {status.distribution for status in found} == names
    assert sorted(status.state[:6] for status in found) == ["active", "failed"]
    assert [status.engines for status in found if status.state == "active"] != [()]
    assert len({"one_engine", "other_engine"} & set(plugins.engines)) == 1


def make_engine(**attributes: Any) -> type[Engine]:
    return type("Made", (Engine,), {"name": "made", **attributes})


class Plugin:
    """A plugin with some engines, and a hook that would be noticed if it stayed behind."""

    def __init__(self, *engines: Any) -> None:
        self._engines = engines

    @hookimpl
    def register_commands(self, cli: object) -> None:
        raise AssertionError("this plugin was refused")

    @hookimpl
    def register_engines(self) -> Any:
        return self._engines


def refused(plugin: object) -> str:
    """Return why a plugin is refused, having made sure that nothing of it stays."""
    plugins = PluginManager()
    before = implementations(plugins)
    with pytest.raises(PluginError) as caught:
        plugins.add(plugin, "bad")
    assert plugins.engines == {}
    assert plugins.get_plugin("bad") is None
    assert not plugins.is_registered(plugin)
    assert implementations(plugins) == before
    plugins.add(Plugin(make_engine()), "good")
    assert set(plugins.engines) == {"made"}
    return str(caught.value)


def implementations(plugins: PluginManager) -> dict[str, int]:
    """Return hook → number of its implementations, where there are any."""
    hooks = [hook for name, hook in vars(plugins.hook).items() if not name.startswith("_")]
    return {hook.name: len(hook.get_hookimpls()) for hook in hooks if hook.get_hookimpls()}


@pytest.mark.parametrize(
    ("task", "field"), [(task, field) for task in Task for field in sorted(RESERVED[task])]
)
def test_options_must_not_collide_with_fields_of_the_api(task: Task, field: str) -> None:
    params = type(
        "MadeParams",
        (Params,),
        {"__annotations__": {field: str}, field: Field("x", description="Something.")},
    )
    method = "synthesize" if task is Task.SPEECH else "transcribe"
    engine = make_engine(params_type=params, **{method: lambda self, request: iter(())})
    assert f"MadeParams.{field} collides" in refused(Plugin(engine))


def test_an_option_may_have_the_name_of_a_field_of_the_other_task() -> None:
    class Sampling(Params):
        temperature: float = Field(0.9, description="Sampling temperature.")

    engine = make_engine(params_type=Sampling, synthesize=lambda self, request: iter(()))
    PluginManager().add(Plugin(engine), "sampling")


def test_options_need_a_default_and_a_description() -> None:
    class Undescribed(Params):
        grain: int = 0

    class Required(Params):
        grain: int = Field(description="The grain.")

    for params in (Undescribed, Required):
        message = refused(Plugin(make_engine(params_type=params)))
        assert f"{params.__name__}.grain needs a default and a description" in message


@pytest.mark.parametrize("field", ["engine", "keep_alive"])
def test_settings_must_not_collide_with_the_kernel_s_keys(field: str) -> None:
    settings = type(
        "MadeSettings",
        (Settings,),
        {"__annotations__": {field: str}, field: Field("x", description="Something.")},
    )
    assert f"MadeSettings.{field} collides" in refused(Plugin(make_engine(settings_type=settings)))


@pytest.mark.parametrize("name", ["", "Upper", "with-hyphen", "1st", "with space", None, 3])
def test_engines_need_a_plain_name(name: Any) -> None:
    assert "name" in refused(Plugin(make_engine(name=name)))


def test_engines_need_any_name() -> None:
    assert "name" in refused(Plugin(type("Nameless", (Engine,), {})))


@pytest.mark.parametrize("thing", [object, "echo", None, Engine(ModelInfo(Task.SPEECH), None)])
def test_only_engine_classes_are_engines(thing: Any) -> None:
    assert "Engine" in refused(Plugin(thing))


def test_one_plugin_cannot_have_two_engines_of_one_name() -> None:
    assert "'made'" in refused(Plugin(make_engine(), make_engine()))


def test_one_wrong_engine_keeps_the_whole_plugin_out() -> None:
    refused(Plugin(make_engine(), make_engine(name="Wrong")))


def test_streaming_hooks_that_yield_themselves_are_refused() -> None:
    class Generating(Plugin):
        @hookimpl
        def synthesize(self, engine: object, request: object) -> Iterator[AudioChunk]:
            yield from ()

    class AsyncGenerating(Plugin):
        @hookimpl
        async def transcribe(self, engine: object, request: object) -> Any:
            yield

    class Coroutine(Plugin):
        @hookimpl
        async def resolve_voice_prompt(self, reference: object) -> None:
            return None

    class Renamed(Plugin):
        @hookimpl(specname="synthesize")
        async def speak(self, engine: object) -> Any:
            yield

    for kind in (Generating, AsyncGenerating, Coroutine, Renamed):
        assert "never None" in refused(kind(make_engine()))


def test_an_argument_that_a_hook_does_not_have_is_refused() -> None:
    class Outdated(Plugin):
        @hookimpl
        def synthesize(self, engine: object, text: str) -> None:
            return None

    assert "text" in refused(Outdated(make_engine()))


def test_a_hook_that_does_not_exist_is_refused() -> None:
    class Misspelt(Plugin):
        @hookimpl
        def synthesise(self, engine: object) -> None:
            return None

    assert "synthesise" in refused(Misspelt(make_engine()))


def test_a_wrapper_may_yield_and_a_hook_may_be_optional() -> None:
    class Fine:
        @hookimpl(wrapper=True)
        def synthesize(self, engine: object) -> Iterator[None]:
            return (yield)

        @hookimpl(optionalhook=True)
        def of_a_later_version(self) -> None:
            return None

    plugins = PluginManager()
    plugins.add(Fine(), "fine")
    assert plugins.has_plugin("fine")


def test_a_name_is_taken_once() -> None:
    plugins = PluginManager()
    first = Plugin(make_engine())
    plugins.add(first, "same")
    with pytest.raises(PluginError, match="same"):
        plugins.add(Plugin(make_engine(name="other")), "same")
    assert plugins.get_plugin("same") is first
    assert set(plugins.engines) == {"made"}
