from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import unisono

ROOT = Path(unisono.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
FLOORS = [
    "errors voice types requests languages",
    "engine hookspecs",
    "audio codecs boxes ffmpeg containers decoding spool text spellings fields parsing lanes"
    " builtin weights downloads cache addresses https breaks silero vad",
    "sections config plugins prepared batching runner"
    " wire answers spawn pipes process replicas worker",
    "entries foreign launch catalog pool store voice_index references remote files",
    "calls prompts dialogue speech transcription listening pieces speakers words"
    " cues subtitles transcripts rendering kernel",
    "api cli testing __main__",
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
ARCHITECTURE = (ROOT.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
FOR_PLUGINS_ONLY = {"torch", "torchaudio", "mlx", "mlx_audio", "transformers", "onnxruntime"}


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield every import that runs, wherever it stands."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    for child in node.orelse if typing_only else ast.iter_child_nodes(node):
        yield from imports(child)


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports: modules, and names in them."""
    package = ["unisono", *path.relative_to(ROOT).parts[:-1]]
    for node in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def floor(path: Path) -> int:
    return FLOOR_OF[path.relative_to(ROOT).parts[0].removesuffix(".py")]


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_imports_point_down_or_sideways(path: Path) -> None:
    if path == ROOT / "__init__.py":
        assert not any(name.startswith("unisono") for name in imported(path)), "load names lazily"
        return
    for name in imported(path):
        top, _, inside = name.partition(".")
        # The version is a plain constant of the package; its other names reach every floor.
        if top == "unisono" and inside != "__version__":
            module = inside.partition(".")[0]
            assert module in FLOOR_OF, f"{name}: import it from its own module"
            assert FLOOR_OF[module] <= floor(path), f"{name} is above {shown(path)}"


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_every_module_has_its_floor(path: Path) -> None:
    if path != ROOT / "__init__.py":
        assert path.relative_to(ROOT).parts[0].removesuffix(".py") in FLOOR_OF


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_no_module_is_longer_than_300_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_libraries_that_run_models_belong_to_plugins(path: Path) -> None:
    assert not FOR_PLUGINS_ONLY & {name.partition(".")[0] for name in imported(path)}


def test_imports_for_type_checkers_do_not_count_and_hidden_ones_do() -> None:
    tree = ast.parse(
        "if TYPE_CHECKING:\n    import a\nelse:\n    import b\n"
        "def f():\n    try:\n        from .c import d\n    except ImportError:\n        pass\n"
    )
    assert [ast.unparse(node) for node in imports(tree)] == ["import b", "from .c import d"]


def test_the_architecture_page_shows_these_floors() -> None:
    rows = re.findall(r"^\| F(\d) \| (.*?) \|", ARCHITECTURE, re.M)
    shown = {int(floor): set(re.findall(r"`(\w+)`", names)) for floor, names in rows}
    assert shown == {floor: set(names.split()) - {"__main__"} for floor, names in enumerate(FLOORS)}
