"""The report in a real browser, as wide as a desk's screen and as narrow as a telephone."""

import base64
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from covid_monai.evaluation.metrics.prediction_table import write_predictions
from covid_monai.evaluation.report.gallery import image_uri, overlay_uri
from covid_monai.evaluation.report.report_files import write_report
from covid_monai.evaluation.shortcuts.saliency import summarise_lung_share, summarise_randomisation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs chromium and chromium-driver"),
]
TWO, THREE = ("normal", "pneumonia"), ("normal", "pneumonia", "covid")


def write(folder: Path, names: tuple, splits: tuple, *, absent: int | None = None) -> Path:
    rng, rows = np.random.default_rng(0), []
    for split in splits:
        for i in range(60):
            label = i % len(names)
            if label == absent and split == "test":
                continue
            weights = np.exp(rng.normal(size=len(names)) + 2 * np.eye(len(names))[label])
            facts = {"source": f"hospital {i % 2}", "sex": "FM"[i % 5 == 0], "age": 20.0 + i, "view": "PA"}
            path = f"a-collection-with-a-long-name/{split}/image-{i:03}-of-a-patient-with-a-long-name.png"
            known = {"image": path, "split": split, "patient": f"{split}{i // 2}", "label": label}
            rows.append({**known, "probabilities": weights / weights.sum(), **facts})
    write_predictions(folder / "predictions.csv", rows, names)
    image = rng.random((64, 64))
    case = {"image": rows[-1]["image"], "truth": names[0], "decision": names[1], "probability": 0.9}
    case |= {"right": False, "picture": image_uri(image), "heatmap": overlay_uri(image, image, image > 0.5)}
    explanation = {
        "layer": "class_layers.relu",
        "grid": [7, 7],
        "gallery": [case] * 4,
        "saliency": summarise_lung_share([0.4, None], [0.4, 0.5], [0, 1], ["a", "b"], names),
        "randomisation": summarise_randomisation([None], ["a"], draws=1),
    }
    provenance = {"model": {"name": "covid_cxr_classification", "weights_sha256": "0123456789" * 6}}
    write_report(
        folder / "predictions.csv",
        folder,
        operating_point=None,
        provenance=provenance,
        explanation=explanation,
    )
    return folder / "report.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    def folder(name: str) -> Path:
        return tmp_path_factory.mktemp(name)

    return {
        "three-classes": write(folder("three"), THREE, ("validation", "test")),
        "two-classes": write(folder("two"), TWO, ("test",)),
        "absent-class": write(folder("absent"), THREE, ("validation", "test"), absent=2),
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    for flag in (
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync"),
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options)
    yield driver
    driver.quit()


@pytest.mark.parametrize("width", [1300, 390])
@pytest.mark.parametrize("name", ["three-classes", "two-classes", "absent-class"])
def test_page_fits_shows_its_pictures_and_no_undefined_number(pages, browser, request, name, width):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(pages[name].as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0
    # Text may be cut nowhere: what is too wide scrolls in a box that says so.
    outside = """return [...document.querySelectorAll('p, li, h1, h2, h3, figure, dl')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert browser.execute_script(outside) == []
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "What was found" in text
    assert "Reporting checklist" in text
    assert not re.search(r"\b(nan|NaN|None|undefined|inf)\b", text)
    if folder := request.config.getoption("--screenshots"):
        _shoot(browser, Path(folder) / f"report-{name}-{width}.png", width)


def _shoot(browser, path: Path, width: int) -> None:
    height = browser.execute_script("return document.documentElement.scrollHeight")
    area = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": area})
    path.write_bytes(base64.b64decode(shot["data"]))
