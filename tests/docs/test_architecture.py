"""The tables of docs/architecture.md name files that exist, and every folder of the package."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_path_of_the_table_exists():
    table = PAGE.split("## I want to change", 1)[1].split("\n## ", 1)[0]
    paths = re.findall(r"`((?:covid_monai|bundles)/[^`]+)`", table)
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_of_the_package_has_its_layer():
    layers = PAGE.split("## Folders and layers", 1)[1].split("## Decisions", 1)[0]
    named = set(re.findall(r"^\| (.+?) \|", layers, re.MULTILINE)[1:])
    folders = {name for cell in named for name in re.findall(r"`(\w+)`", cell)}
    assert folders == {path.parent.name for path in (ROOT / "covid_monai").glob("*/__init__.py")}
