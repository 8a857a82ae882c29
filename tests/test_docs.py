"""What the documentation says is what the code does."""

from __future__ import annotations

import re
import types
from pathlib import Path

import pytest

from unisono import Feature, Kernel
from unisono.config import Config
from unisono.sections import ModelConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTIONS = {
    name: Config.model_fields[name].annotation
    for name in ("server", "limits", "defaults", "plugins", "voices")
} | {"models.<id>": ModelConfig}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_configuration_page_has_every_key_with_its_meaning(section: str) -> None:
    table = CONFIGURATION.split(f"### `[{section}]`")[1].split("###")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*) \|$", table, re.M))
    declared = {name: f.description for name, f in SECTIONS[section].model_fields.items()}
    assert documented == declared


@pytest.mark.parametrize("section", ["server", "limits", "plugins", "voices"])
def test_the_readme_names_every_key_of(section: str) -> None:
    row = re.search(rf"^\| `\[{section}\]` \| (.*) \|$", README, re.M)
    assert row
    assert row[1].split(", ") == list(SECTIONS[section].model_fields)


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", CONFIGURATION + README, re.S))
def test_every_configuration_example_is_valid(example: str, tmp_path: Path) -> None:
    path = tmp_path / "unisono.toml"
    path.write_text(example, encoding="utf-8")
    assert Config.load(path).file == path


@pytest.mark.anyio
async def test_the_plugin_of_the_readme_speaks(make_kernel) -> None:
    (source,) = re.findall(r"```python\n(import numpy.*?)```", README, re.S)
    plugin = types.ModuleType("unisono_beep")
    exec(source, vars(plugin))
    async with make_kernel(plugins={"beep": plugin}) as kernel:
        assert isinstance(kernel, Kernel)
        chunks = [c async for c in kernel.speech("Hello", model="beep", frequency=300)]
    assert sum(chunk.seconds for chunk in chunks) == pytest.approx(0.25)


def test_every_feature_is_documented_where_it_is_declared() -> None:
    source = (ROOT / "core" / "unisono" / "types.py").read_text(encoding="utf-8")
    for feature in Feature:
        assert re.search(rf'{feature.name} = "{feature.value}"\n    """', source), feature
