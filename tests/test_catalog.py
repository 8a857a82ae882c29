from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from unisono import (
    Config,
    ConfigError,
    Engine,
    Kernel,
    ModelInfo,
    ModelNotFound,
    Params,
    RequestError,
    Settings,
    Task,
    Weights,
    hookimpl,
)
from unisono.catalog import Catalog
from unisono.plugins import PluginManager, PluginStatus
from unisono.testing import echo

MakeKernel = Callable[..., Kernel]
SPEECH, TRANSCRIPTION = Task.SPEECH, Task.TRANSCRIPTION


@pytest.fixture
def catalog(make_kernel: MakeKernel) -> Callable[..., Catalog]:
    """Return a function that makes a catalogue: catalog(models={...}, plugins={...})."""

    def make(plugins: Mapping[str, object] | None = None, **overrides: Any) -> Catalog:
        return make_kernel(overrides, plugins).catalog

    return make


MakeCatalog = Callable[..., Catalog]


def ids(catalog: Catalog) -> list[str]:
    return [entry.id for entry in catalog.entries]


def test_presets_are_served_without_configuration(catalog: MakeCatalog) -> None:
    found = catalog()
    assert ids(found) == ["echo", "async-echo", "echo-transcriber"]
    entry = found.get("echo")
    assert entry.info.id == "echo"
    assert entry.info.engine == "echo"
    assert entry.plugin == "echo"
    assert entry.engine is echo.EchoEngine
    assert entry.settings == echo.EchoSettings()
    assert entry.keep_alive == 600


def test_models_of_the_configuration_come_first_and_replace_presets(catalog: MakeCatalog) -> None:
    found = catalog(
        models={
            "narrator": {"engine": "echo", "sample_rate": 8000},
            "echo": {"engine": "async_echo", "sample_rate": 16_000},
        }
    )
    assert ids(found) == ["narrator", "echo", "async-echo", "echo-transcriber"]
    assert found.get("narrator").info.sample_rate == 8000
    assert found.get("echo").engine is echo.AsyncEchoEngine


def test_a_model_named_as_a_preset_of_its_engine_starts_from_its_settings(
    catalog: MakeCatalog, providing: Callable[..., object]
) -> None:
    class Preset(echo.EchoEngine):
        name = "preset"

        @classmethod
        def presets(cls) -> Mapping[str, Settings]:
            return {"fast": echo.EchoSettings(seconds_per_word=0.1, sample_rate=8000)}

    models = {"fast": {"engine": "preset", "sample_rate": 16_000}, "other": {"engine": "preset"}}
    found = catalog({"preset": providing(Preset)}, models=models)
    expected = echo.EchoSettings(seconds_per_word=0.1, sample_rate=16_000)
    assert found.get("fast").settings == expected
    assert found.get("other").settings == echo.EchoSettings()


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"sample_rate": "many"}, "models.narrator.sample_rate"),
        ({"samplerate": 8000}, "models.narrator.samplerate"),
        ({"chunk_seconds": 0}, "models.narrator.chunk_seconds"),
        ({"languages": ["en", 3]}, "models.narrator.languages.1"),
    ],
)
def test_settings_are_validated_and_the_key_is_named(
    catalog: MakeCatalog, table: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        catalog(models={"narrator": {"engine": "echo", **table}})
    assert str(caught.value).startswith(f"{key}: ")
    assert "engine 'echo'" in str(caught.value)


def test_an_unknown_engine_lists_what_there_is_and_why_plugins_failed() -> None:
    plugins = PluginManager()
    plugins.add(echo, "echo")
    plugins.statuses.append(
        PluginStatus("kokoro", "unisono-kokoro", "1", "failed: ImportError: no torch")
    )
    config = Config.load(None, {"models": {"narrator": {"engine": "kokoro_engine"}}})
    with pytest.raises(ConfigError) as caught:
        Catalog(config, plugins)
    message = str(caught.value)
    assert message.startswith("models.narrator.engine: ")
    assert "'kokoro_engine'" in message
    assert "echo, async_echo, echo_transcriber" in message
    assert "Plugin 'kokoro' failed: ImportError: no torch." in message


def test_without_any_engine_that_is_said() -> None:
    config = Config.load(None, {"models": {"narrator": {"engine": "echo"}}})
    with pytest.raises(ConfigError, match="Engines: none"):
        Catalog(config, PluginManager())
    empty = Catalog(Config.load(), PluginManager())
    assert empty.entries == []
    for task in Task:
        with pytest.raises(ModelNotFound, match=rf"does {task.value}.*install a plugin"):
            empty.resolve(None, task)
        with pytest.raises(ModelNotFound, match="install an engine plugin"):
            empty.resolve("tts-1", task)


def test_the_time_to_keep_a_model_is_its_own_or_the_general_one(catalog: MakeCatalog) -> None:
    found = catalog(
        limits={"keep_alive": "1h"},
        models={
            "always": {"engine": "echo", "keep_alive": "forever"},
            "never": {"engine": "echo", "keep_alive": 0},
        },
    )
    assert found.get("always").keep_alive == math.inf
    assert found.get("never").keep_alive == 0
    assert found.get("echo").keep_alive == 3600


def test_the_first_model_of_a_task_is_its_default(catalog: MakeCatalog) -> None:
    found = catalog(models={"narrator": {"engine": "echo"}})
    assert found.resolve(None, SPEECH).id == "narrator"
    assert found.resolve(None, TRANSCRIPTION).id == "echo-transcriber"


def test_defaults_can_be_configured(catalog: MakeCatalog) -> None:
    found = catalog(defaults={"speech": "async-echo"})
    assert found.resolve(None, SPEECH).id == "async-echo"
    assert found.resolve("tts-1", SPEECH).id == "async-echo"


@pytest.mark.parametrize("name", ["nothing", "echo-transcriber"])
def test_a_default_must_be_a_model_of_its_task(catalog: MakeCatalog, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"defaults\.speech is '{name}'.*'echo', 'async-echo'"):
        catalog(defaults={"speech": name})


def test_aliases_name_models(catalog: MakeCatalog) -> None:
    found = catalog(aliases={"kokoro": "async-echo", "tts-1": "async-echo"})
    assert found.resolve("kokoro", SPEECH).id == "async-echo"
    assert found.resolve("tts-1", SPEECH).id == "async-echo"
    assert found.resolve("tts-1-hd", SPEECH).id == "echo"
    assert set(found.aliases) >= {"kokoro", "tts-1", "whisper-1"}


def test_an_alias_needs_a_model_and_a_free_name(catalog: MakeCatalog) -> None:
    with pytest.raises(ConfigError, match=r"aliases\.kokoro: .*'nothing'.*'echo'"):
        catalog(aliases={"kokoro": "nothing"})
    with pytest.raises(ConfigError, match=r"aliases\.echo: a model has this id"):
        catalog(aliases={"echo": "async-echo"})


@pytest.mark.parametrize(
    ("name", "task", "id_"),
    [
        *[(n, SPEECH, "echo") for n in ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")],
        *[("gpt-4o-mini-tts-2025-12-15", SPEECH, "echo"), ("tts-1-2030-01-01", SPEECH, "echo")],
        *[
            (n, TRANSCRIPTION, "echo-transcriber")
            for n in (
                *["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"],
                *["gpt-4o-transcribe-diarize", "gpt-4o-mini-transcribe-2025-12-15"],
            )
        ],
    ],
)
def test_openai_s_model_names_mean_the_defaults(
    catalog: MakeCatalog, name: str, task: Task, id_: str
) -> None:
    assert catalog().resolve(name, task).id == id_


def test_a_model_may_have_one_of_openai_s_names(catalog: MakeCatalog) -> None:
    found = catalog(models={"whisper-1": {"engine": "echo_transcriber", "languages": ["de"]}})
    assert found.resolve("whisper-1", TRANSCRIPTION).info.languages == ("de",)
    assert found.resolve("whisper-1-2030-01-01", TRANSCRIPTION).id == "whisper-1"


@pytest.mark.parametrize("name", ["nothing", "gpt-4o-mini-tts-preview", "ECHO", "whisper-2"])
def test_an_unknown_name_lists_the_models(catalog: MakeCatalog, name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalog().resolve(name, SPEECH)
    assert f"no model '{name}'" in str(caught.value)
    assert "'echo', 'async-echo', 'echo-transcriber'" in str(caught.value)
    assert caught.value.param == "model"


@pytest.mark.parametrize("name", ["echo", "tts-1", "gpt-4o-mini-tts-2025-12-15"])
def test_a_model_of_another_task_lists_those_that_fit(catalog: MakeCatalog, name: str) -> None:
    with pytest.raises(RequestError) as caught:
        catalog().resolve(name, TRANSCRIPTION)
    assert "does speech, not transcription" in str(caught.value)
    assert "'echo-transcriber'" in str(caught.value)
    assert (caught.value.param, caught.value.code) == ("model", "wrong_task")


def test_options_are_listed_with_the_models_of_the_task_that_have_them(
    catalog: MakeCatalog, providing: Callable[..., object]
) -> None:
    class BreathParams(Params):
        breath: float = Field(0.0, description="Loudness of the breath, 0 to 1.")

    class Breathing(echo.EchoEngine):
        name = "breathing"
        params_type = BreathParams

    found = catalog({"breathing": providing(Breathing)})
    assert found.options(SPEECH) == {
        "gain": ["echo", "async-echo"],
        "fail_after": ["echo", "async-echo"],
        "breath": ["breathing"],
    }
    assert found.options(TRANSCRIPTION)["gain"] == ["echo-transcriber"]


@pytest.fixture
def undescribed(providing: Callable[..., object]) -> object:
    class Undescribed(Engine):
        name = "undescribed"

        @classmethod
        def presets(cls) -> Mapping[str, Settings]:
            return {"undescribed-model": Settings()}

        @classmethod
        def describe(cls, settings: Settings) -> ModelInfo:
            raise FileNotFoundError("voices.json")

    return providing(Undescribed)


def test_a_preset_whose_engine_cannot_describe_it_is_left_out(
    catalog: MakeCatalog, undescribed: object, caplog: pytest.LogCaptureFixture
) -> None:
    found = catalog({"undescribed": undescribed})
    assert "undescribed-model" not in ids(found)
    assert "echo" in ids(found)
    (record,) = (r for r in caplog.records if r.levelno == logging.WARNING)
    assert "'undescribed'" in record.getMessage()
    assert "voices.json" in caplog.text


def test_a_configured_model_whose_engine_cannot_describe_it_is_fatal(
    catalog: MakeCatalog, undescribed: object
) -> None:
    with pytest.raises(ConfigError, match=r"models\.narrator: .*'undescribed'.*voices\.json"):
        catalog({"undescribed": undescribed}, models={"narrator": {"engine": "undescribed"}})


def test_one_wrong_preset_does_not_take_the_others_along(
    catalog: MakeCatalog, providing: Callable[..., object]
) -> None:
    class Partly(echo.EchoEngine):
        name = "partly"

        @classmethod
        def presets(cls) -> Mapping[str, Settings]:
            rates = {"good": 8000, "bad": 1, "fine": 16_000}
            return {id_: echo.EchoSettings(sample_rate=rate) for id_, rate in rates.items()}

        @classmethod
        def describe(cls, settings: echo.EchoSettings) -> ModelInfo:
            if settings.sample_rate == 1:
                raise ValueError("too slow")
            return super().describe(settings)

    found = ids(catalog({"partly": providing(Partly)}))
    assert {"good", "fine"} <= set(found)
    assert "bad" not in found


def test_two_presets_of_one_id_are_reported_and_the_first_serves(
    catalog: MakeCatalog, providing: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    class Rival(echo.EchoEngine):
        name = "rival"

        @classmethod
        def presets(cls) -> Mapping[str, Settings]:
            return {"echo": echo.EchoSettings(sample_rate=8000)}

    plugins = {"rival": providing(Rival)}
    assert catalog(plugins).get("echo").engine is echo.EchoEngine
    assert "'echo'" in caplog.text
    assert "'rival'" in caplog.text
    caplog.clear()
    catalog(plugins, models={"echo": {"engine": "rival"}})  # chosen, so there is nothing to say
    assert not caplog.records


def test_what_a_mistake_in_a_file_says_is_short(toml: Callable[[str], Path]) -> None:
    plugins = PluginManager()
    plugins.add(echo, "echo")
    file = toml('[models.narrator]\nengine = "echo"\nrtf = "slow"\n')
    with pytest.raises(ConfigError) as caught:
        Catalog(Config.load(file), plugins)
    assert str(caught.value).count("\n") == 0


def test_a_preset_that_must_be_downloaded_is_nobodys_default_unless_there_is_no_other(
    providing,
) -> None:
    class Distant(echo.EchoEngine):
        name = "distant"

        @classmethod
        def presets(cls) -> Mapping[str, Settings]:
            return {"distant": echo.EchoSettings()}

        @classmethod
        def weights(cls, settings: Any) -> Sequence[Weights]:
            return [Weights("somebody/something")]

    class Near(Distant):
        name = "near_by"

        @classmethod
        def presets(cls) -> Mapping[str, Settings]:
            return {"near-by": echo.EchoSettings()}

        @classmethod
        def weights(cls, settings: Any) -> Sequence[Weights]:
            return ()

    def default(*engines: type[Engine], **overrides: Any) -> str:
        manager = PluginManager()
        manager.add(providing(*engines), "some")
        entry = Catalog(Config.load(None, overrides), manager).default(Task.SPEECH)
        assert entry
        return entry.id

    assert default(Distant, Near) == "near-by"
    assert default(Distant) == "distant"
    assert default(Distant, Near, models={"mine": {"engine": "distant"}}) == "mine"
    assert default(Distant, Near, defaults={"speech": "distant"}) == "distant"


def test_a_preset_whose_weights_have_come_is_the_default_before_one_that_needs_none(
    providing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Better(echo.EchoEngine):
        name = "better"

        @classmethod
        def presets(cls) -> Mapping[str, Settings]:
            return {"better": echo.EchoSettings()}

        @classmethod
        def weights(cls, settings: Any) -> Sequence[Weights]:
            return [Weights("somebody/something")]

    def default() -> str:
        manager = PluginManager()
        manager.add(providing(Better), "better")
        manager.add(echo, "echo")
        entry = Catalog(Config.load(), manager).default(Task.SPEECH)
        assert entry
        return entry.id

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert default() == "echo"
    monkeypatch.setattr("unisono.weights.find_weights", lambda weights: tmp_path)
    assert default() == "echo", "there is not even a folder"
    (tmp_path / "models--somebody--something").mkdir()
    assert default() == "better"


class OnlyInBatches(Engine):
    """Cannot serve one request by itself, and says so of a model that is to serve just one."""

    name = "only_in_batches"
    max_batch_size = 4

    @classmethod
    def describe(cls, settings: Settings) -> ModelInfo:
        return ModelInfo(TRANSCRIPTION, max_concurrency=1)

    def open_batch(self) -> Any:
        raise NotImplementedError


class OnlyInBatchesPlugin:
    """Provides it."""

    @hookimpl
    def register_engines(self) -> list[type[Engine]]:
        return [OnlyInBatches]


def test_a_model_without_a_batch_needs_the_method_that_serves_alone(
    catalog: Callable[..., Catalog],
) -> None:
    with pytest.raises(ConfigError, match="lacks 'transcribe'"):
        catalog(
            {"only": OnlyInBatchesPlugin()},
            models={"m": {"engine": "only_in_batches"}},
        )
