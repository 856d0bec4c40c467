"""The audit as a person meets it: the command, its exit code, its two files, the page in a browser."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from typer.testing import CliRunner

from covid_monai.cli.data import app
from covid_monai.core.vocabulary import RESEARCH_USE

CLASSES = ("normal", "covid")


def run(*words):
    return CliRunner().invoke(app, ["audit", *map(str, words)])


@pytest.fixture(scope="module")
def images(tmp_path_factory, phantoms):
    """Six images under names with characters that a page must escape."""
    folder = tmp_path_factory.mktemp("audit")
    content = json.loads(phantoms.read_text())
    root = phantoms.parent / content.get("root", "")
    for number, record in enumerate(
        [r for r in content["training"] if str(r["image"]).endswith((".png", ".jpg", ".jpeg"))][:6]
    ):
        Image.open(root / record["image"]).convert("L").save(folder / f"<image>&{number}.png")
    with Image.open(folder / "<image>&0.png") as image:
        image.resize((80, 100)).save(folder / "again.jpg")
    return folder


def write(folder, name, *, test, patient="q"):
    training = [
        {"image": f"<image>&{n}.png", "label": n % 2, "patient": f"p{n}", "source": "a"} for n in range(5)
    ]
    content = {
        "labels": dict(enumerate(CLASSES)),
        "training": training,
        "test": [{"image": test, "label": 1, "patient": patient, "source": "b"}],
    }
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_a_clean_datalist_is_said_to_be_clean(images, tmp_path):
    result = run(write(images, "clean.json", test="<image>&5.png"), "--output", tmp_path)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "audit.json").read_text())
    assert report["duplicate_groups"] == report["leaks"] == report["label_conflicts"] == []
    assert report["counts"]["splits"] == {"training": 5, "test": 1}
    assert report["notice"] == RESEARCH_USE
    assert report["confounding"]["verdict"] in report["verdict"]
    assert "No leak" in result.output
    assert "No leak" in (tmp_path / "audit.html").read_text()


@pytest.mark.parametrize(
    ("test", "patient", "kinds"),
    [("again.jpg", "q", ["group"]), ("<image>&5.png", "p3", ["patient"]), ("<image>&1.png", "q", ["file"])],
)
def test_each_kind_of_leak_is_found_shown_and_ends_in_code_1(images, tmp_path, test, patient, kinds):
    datalist = write(images, "leak.json", test=test, patient=patient)
    result = run(datalist, "--output", tmp_path, "--no-confounding")
    assert result.exit_code == 1, result.output
    report = json.loads((tmp_path / "audit.json").read_text())
    assert [leak["kind"] for leak in report["leaks"]] == kinds
    assert report["confounding"] is None
    assert {image["image"] for image in report["leaks"][0]["paths"]} >= {test}
    page = (tmp_path / "audit.html").read_text()
    assert page.index("Leaks: 1") < page.index("data:image/jpeg;base64,")
    assert "&lt;image&gt;&amp;" in page
    assert "<image>" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_wrong_usage_ends_in_an_error_that_names_the_way_out(images, tmp_path):
    lonely = write(tmp_path, "list.json", test="again.jpg")
    with pytest.raises(FileNotFoundError, match="--dataset-dir"):
        CliRunner().invoke(
            app, ["audit", str(lonely), "--output", str(tmp_path / "out")], catch_exceptions=False
        )
    assert not (tmp_path / "out").exists()
    moved = run(lonely, "--output", tmp_path / "out", "--dataset-dir", images, "--no-confounding")
    assert moved.exit_code == 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs chromium and chromium-driver")
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_in_a_browser_shows_pictures_and_nothing_sticks_out(images, tmp_path, request, width):
    run(write(images, "leak.json", test="again.jpg"), "--output", tmp_path)
    options = webdriver.ChromeOptions()
    profile = f"--user-data-dir={tmp_path / 'chromium'}"
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", profile, f"--window-size={width},1400"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options)
    try:
        browser.get((tmp_path / "audit.html").as_uri())
        text = browser.find_element("tag name", "body").text
        drawn = "return [...document.images].map(i => i.naturalWidth > 0 && i.complete)"
        assert all(browser.execute_script(drawn))
        assert browser.execute_script(drawn)
        root = "document.documentElement"
        assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
        assert "<image>&0.png" in text
        assert "1 image under two names" in text
        assert "undefined" not in text
        if folder := request.config.getoption("--screenshots"):
            time.sleep(1)
            browser.save_screenshot(str(Path(folder) / f"audit-{width}.png"))
    finally:
        browser.quit()
