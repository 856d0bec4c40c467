"""The site: builds without a warning, asks no other server, leaves no part of the code out."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Shown to people, not called from programs.
NO_REFERENCE = {"app", "cli", "core"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.slow
def test_pages_are_whole_and_ask_no_other_server(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    asked = re.compile(
        r"<(?:script|img|iframe)[^>]*\bsrc=\"?(?:https?:)?//"
        r"|<link[^>]*rel=\"?(?:stylesheet|preconnect)[^>]*https?://"
    )
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not asked.search(text), page
        assert "--8<--" not in text, page
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles
    assert not any(re.search(r"url\(\"?https?:", style) for style in styles)


@pytest.mark.slow
def test_files_outside_docs_are_on_the_site_and_examples_are_their_files(site):
    assert "Your first prediction" in (site / "index.html").read_text(encoding="utf-8")
    config = "configs/experiments/kermany.yaml"
    assert (site / "repository" / config).read_bytes() == (ROOT / config).read_bytes()
    assert f"repository/{config}" in (site / "training" / "index.html").read_text(encoding="utf-8")
    shown = re.sub("<[^>]+>", "", (site / "add-dataset" / "index.html").read_text(encoding="utf-8"))
    assert "two-towns" in shown
    assert "def _read(folder: Path)" in shown


@pytest.mark.slow
def test_the_reference_shows_docstrings_with_their_examples_as_code(site):
    page = (site / "api" / "transforms" / "index.html").read_text(encoding="utf-8")
    assert 'id="covid_monai.transforms.lung_window.LungWindow"' in page
    assert "VOI LUT Function LINEAR" in page
    assert '<span class="gp">&gt;&gt;&gt;' in page


def test_every_part_of_the_package_is_in_the_reference():
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    parts = {path.stem for path in (ROOT / "covid_monai").glob("*") if path.suffix == ".py" or path.is_dir()}
    missing = {
        name for name in parts if not name.startswith("__") and f"::: covid_monai.{name}\n" not in pages
    }
    assert missing <= NO_REFERENCE
