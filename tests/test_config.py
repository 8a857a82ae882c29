from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unisono import Config, ConfigError
from unisono.config import unknown_variables

Toml = Callable[[str], Path]


def setenv(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"UNISONO_{name}", value)


def rows(config: Config) -> dict[str, tuple[Any, str]]:
    return {key: (value, origin) for key, value, origin in config.rows()}


def test_without_anything_the_defaults_hold() -> None:
    config = Config.load()
    assert config.file is None
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8000)
    assert config.limits.keep_alive == 600
    assert config.models == {}
    assert {origin for _, _, origin in config.rows()} == {"default"}


def test_command_line_wins_over_environment_over_file(
    toml: Toml, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml('[server]\nhost = "file"\nport = 1\nstrict = true\naccess_log = true\n')
    setenv(monkeypatch, SERVER__HOST="environment", SERVER__PORT="2", SERVER__STRICT="false")
    server = Config.load(file, {"server": {"host": "command", "port": None}}).server
    assert (server.host, server.port) == ("command", 2)
    assert (server.strict, server.access_log) == (False, True)


def test_rows_tell_every_value_and_where_it_came_from(
    toml: Toml, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml('[server]\nport = 1\n[models.narrator]\nengine = "echo"\nrtf = 0.5\n')
    setenv(monkeypatch, LIMITS__TEXT_CHARS="77", ALIASES__BOB="narrator")
    config = Config.load(file, {"server": {"host": "::"}})
    assert config.file == file
    found = rows(config)
    assert found["server.port"] == (1, str(file))
    assert found["models.narrator.rtf"] == (0.5, str(file))
    assert found["limits.text_chars"] == (77, "UNISONO_LIMITS__TEXT_CHARS")
    assert found["aliases.bob"] == ("narrator", "UNISONO_ALIASES__BOB")
    assert found["server.host"] == ("::", "command line")
    assert found["server.strict"] == (False, "default")


def test_rows_mask_what_is_secret(toml: Toml) -> None:
    file = toml(
        '[server]\napi_keys = ["hush", "hush"]\n'
        '[models.a]\nengine = "bridge"\napi_key = "hush"\nurl = "http://here"\n'
        '[models.a.credentials]\npassword = "hush"\n'
        '[models.a.secrets]\nvalue = "hush"\n[models.a.secrets.more]\nvalues = ["hush"]\n'
    )
    config = Config.load(file)
    assert "hush" not in str(rows(config))
    assert rows(config)["models.a.url"][0] == "http://here"
    assert "hush" not in repr(config.server)
    assert [key.get_secret_value() for key in config.server.api_keys] == ["hush", "hush"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90", 90),
        ('"90"', 90),
        ('"90s"', 90),
        ('"10m"', 600),
        ('"1.5h"', 5400),
        ('"2 d"', 172_800),
        ('"2H"', 7200),
        ("0", 0),
        ("0.25", 0.25),
        ('"forever"', math.inf),
    ],
)
def test_durations(toml: Toml, written: str, seconds: float) -> None:
    assert Config.load(toml(f"limits.keep_alive = {written}")).limits.keep_alive == seconds


@pytest.mark.parametrize("written", ['"soon"', '"5x"', "-1", '"-1s"', "nan", '""', '"1m30s"'])
def test_what_is_no_duration_is_refused(toml: Toml, written: str) -> None:
    with pytest.raises(ConfigError, match="keep_alive"):
        Config.load(toml(f"limits.keep_alive = {written}"))


@pytest.mark.parametrize(
    ("written", "size"), [("1000", 1000), ('"25MiB"', 25 * 2**20), ('"4 GB"', 4 * 10**9)]
)
def test_sizes(toml: Toml, written: str, size: int) -> None:
    limits = Config.load(toml(f"[limits]\nmemory = {written}\nupload_bytes = {written}")).limits
    assert limits.memory == limits.upload_bytes == size


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(
        monkeypatch,
        SERVER__API_KEYS="a-key, other-key ,",
        SERVER__CORS_ORIGINS="*",
        SERVER__PRELOAD="",
        PLUGINS__DISABLED="x,y",
    )
    config = Config.load()
    assert [key.get_secret_value() for key in config.server.api_keys] == ["a-key", "other-key"]
    assert config.server.cors_origins == ["*"]
    assert config.server.preload == []
    assert config.plugins.disabled == ["x", "y"]


def test_lists_of_the_environment_replace_those_of_the_file(
    toml: Toml, monkeypatch: pytest.MonkeyPatch
) -> None:
    setenv(monkeypatch, SERVER__PRELOAD="c")
    assert Config.load(toml('server.preload = ["a", "b"]')).server.preload == ["c"]


def test_models_are_tables_of_the_kernel_s_keys_and_the_engine_s_own(toml: Toml) -> None:
    file = toml(
        '[models.narrator]\nengine = "echo"\nkeep_alive = "1m"\nrtf = 0.5\n'
        '[models."v1.2-b"]\nengine = "other"\n[models."v1.2-b".device]\nname = "cuda"\n'
    )
    models = Config.load(file).models
    assert models["narrator"].engine == "echo"
    assert models["narrator"].keep_alive == 60
    assert models["narrator"].settings == {"rtf": 0.5}
    assert models["v1.2-b"].keep_alive is None
    assert models["v1.2-b"].settings == {"device": {"name": "cuda"}}


def test_the_environment_adds_models_and_changes_single_keys(
    toml: Toml, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml('[models.narrator]\nengine = "echo"\nrtf = 0.5\nlanguages = ["en"]\n')
    setenv(
        monkeypatch,
        MODELS__NARRATOR__RTF="0.75",
        MODELS__EXTRA__ENGINE="echo",
        MODELS__EXTRA__KEEP_ALIVE="forever",
    )
    models = Config.load(file).models
    assert models["narrator"].settings == {"rtf": 0.75, "languages": ["en"]}
    assert models["extra"].keep_alive == math.inf


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[server]\nport = 1\nportx = 2", "server.portx"),
        ("[sever]\nport = 1", "sever"),
        ("port = 1", "port"),
        ("[limits]\nqueue_length = -1", "limits.queue_length"),
        ("[server]\nport = 70000", "server.port"),
        ("server = 3", "server"),
        ("[models.a]\nrtf = 1", "models.a.engine"),
        ('[models.a]\nengine = "e"\nkeep_alive = "never"', "models.a.keep_alive"),
        ("[server]\npreload = [1]", "server.preload.0"),
    ],
)
def test_mistakes_in_the_file_name_the_key_and_the_file(toml: Toml, text: str, key: str) -> None:
    file = toml(text)
    with pytest.raises(ConfigError) as caught:
        Config.load(file)
    assert f"{key}: " in str(caught.value)
    assert f"(from {file})" in str(caught.value)


def test_mistakes_in_the_environment_name_the_variable(
    toml: Toml, monkeypatch: pytest.MonkeyPatch
) -> None:
    setenv(monkeypatch, SERVER__PORTX="2")
    with pytest.raises(ConfigError, match=r"server\.portx: .*from UNISONO_SERVER__PORTX"):
        Config.load(toml("[server]\nport = 1"))


def test_mistakes_of_the_caller_are_his() -> None:
    with pytest.raises(ConfigError, match=r"server\.port: .*from command line"):
        Config.load(None, {"server": {"port": "x"}})


@pytest.mark.parametrize("name", ["SERVER", "MODELS", "ALIASES"])
def test_a_table_in_one_variable_is_json_or_a_mistake(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    setenv(monkeypatch, **{name: "not json"})
    with pytest.raises(ConfigError, match=name.lower()):
        Config.load()
    setenv(monkeypatch, SERVER='{"port": 5}', MODELS='{"A": {"engine": "e"}}', ALIASES="{}")
    config = Config.load()
    assert (config.server.port, config.models["A"].engine) == (5, "e")


def test_an_empty_table_takes_nothing_away(toml: Toml, monkeypatch: pytest.MonkeyPatch) -> None:
    setenv(monkeypatch, ALIASES="{}")
    config = Config.load(toml('[aliases]\nbob = "narrator"\n'), {"aliases": {}})
    assert config.aliases == {"bob": "narrator"}


def test_several_mistakes_are_told_at_once(toml: Toml) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(toml('[server]\nport = "x"\nhots = "y"'))
    assert "server.port" in str(caught.value)
    assert "server.hots" in str(caught.value)


def test_a_secret_is_not_in_the_message(toml: Toml) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(toml('[server]\napi_key = "hush"\napi_keys = [["hush"]]'))
    assert "hush" not in str(caught.value)


def test_broken_toml_names_the_file(toml: Toml) -> None:
    file = toml("[server\n")
    with pytest.raises(ConfigError, match="not valid TOML") as caught:
        Config.load(file)
    assert str(file) in str(caught.value)


def test_a_file_in_another_encoding_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "unisono.toml"
    file.write_bytes(b'# caf\xe9\nserver.host = "x"\n')
    with pytest.raises(ConfigError, match=r"unisono\.toml"):
        Config.load(file)


def test_a_file_that_was_named_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        Config.load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError):
        Config.load(tmp_path)
    setenv(monkeypatch, CONFIG=str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        Config.load()


def test_the_file_is_searched_from_the_nearest_to_the_farthest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*parts: str) -> Path:
        path = tmp_path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        return path

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert Config.load().file is None
    if os.name == "posix" and os.uname().sysname == "Linux":
        at_home = write("home", "unisono", "unisono.toml")
        assert Config.load().file == at_home
    here = write("unisono.toml")
    assert Config.load().file == Path(here.name)
    by_variable = write("other", "any.toml")
    setenv(monkeypatch, CONFIG=str(by_variable))
    assert Config.load().file == by_variable
    by_name = write("third.toml")
    assert Config.load(by_name).file == by_name


def test_variables_that_mean_nothing_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unknown_variables() == []
    setenv(monkeypatch, SEVER__PORT="1", SERVER__PORT="1", CONFIG="x", PORT="2")
    assert unknown_variables() == ["UNISONO_PORT", "UNISONO_SEVER__PORT"]


def test_the_configuration_cannot_be_changed() -> None:
    config = Config.load()
    with pytest.raises(ValueError, match="frozen"):
        config.server.port = 1
    with pytest.raises(ValueError, match="frozen"):
        config.models = {}


def test_an_empty_key_is_refused(toml: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"server\.api_keys"):
        Config.load(toml('[server]\napi_keys = [""]'))


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have owners on POSIX only")
def test_a_file_of_somebody_else_that_runs_programs_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "unisono.toml"
    path.write_text('[models.it]\nengine = "echo"\npython = "./python"\n')
    monkeypatch.chdir(tmp_path)
    assert Config.load().models["it"].python == Path("python")
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    if owner:
        with pytest.raises(ConfigError, match="another user"):
            Config.load()
    assert Config.load(path).models["it"].python == Path("python")
    path.write_text('[models.it]\nengine = "echo"\n')
    assert Config.load().models
