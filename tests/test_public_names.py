from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import unisono

HEAVY = [
    *["numpy", "pydantic", "pydantic_settings", "pluggy", "click", "asyncio", "importlib.metadata"],
    *["fastapi", "starlette", "uvicorn", "av", "soxr", "lameenc", "soundfile", "sentencex"],
]


def loaded_by(statement: str, names: list[str]) -> set[str]:
    """Return which of these modules a statement loads in a fresh interpreter."""
    code = f"import sys; {statement}; print(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(unisono.__file__).parents[1])},
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", unisono.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(unisono, name) is not None


def test_names_are_sorted_and_unique() -> None:
    assert unisono.__all__ == sorted(set(unisono.__all__))
    assert dir(unisono) == unisono.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = unisono.nothing


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(unisono.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {*seen, "__version__"} == set(unisono.__all__)
    for name, module in seen.items():
        assert getattr(unisono, name) is getattr(import_module(f"unisono.{module}"), name)


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import unisono", HEAVY) == set()


def test_errors_cost_no_library() -> None:
    assert loaded_by("from unisono import SpeechError", HEAVY) == set()


def test_the_names_of_a_plugin_load_no_server_and_no_codec() -> None:
    names = "AudioChunk, Engine, ModelInfo, Params, Segment, Settings, SpeechRequest, hookimpl"
    found = loaded_by(f"from unisono import {names}", HEAVY)
    assert found <= {"pydantic", "pluggy", "asyncio", "importlib.metadata"}
