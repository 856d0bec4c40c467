"""Nothing that takes long runs in the event loop, in which all visitors and programs are answered."""

import asyncio
import hashlib
import zipfile
from collections import Counter

import cv2
import fpdf
import pydicom
import pytest
import requests
from api_helpers import serving
from app_helpers import browser_test
from PIL import Image, ImageFile
from results_helpers import SHIPPED

from covid_monai.api.access import Access
from covid_monai.api.engine import Engine
from covid_monai.app.server import create_app
from covid_monai.app.session import AppContext, ServedModel
from covid_monai.bundle import Bundle
from covid_monai.inference.classifier import Classifier
from covid_monai.phantoms import radiograph
from covid_monai.readers.sandbox import DecodeSandbox

WATCHED = [
    *((zipfile.ZipFile, "__init__"), (zipfile.ZipExtFile, "read"), (hashlib, "sha256")),
    *((Image, "open"), (ImageFile.ImageFile, "load"), (Image.Image, "save"), (Image.Image, "resize")),
    *((cv2, name) for name in ("resize", "LUT", "calcHist", "imencode", "imdecode", "GaussianBlur")),
    *((pydicom.dataset.Dataset, "__init__"), (fpdf.FPDF, "output"), (DecodeSandbox, "check")),
    *((Classifier, "predict"), (Classifier, "explain"), (radiograph, "_thorax")),
]


def in_event_loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@pytest.fixture
def calls(monkeypatch):
    """How often each watched function was called; True stands for a call in an event loop."""
    found = Counter()

    def watch(owner, name):
        original = getattr(owner, name)

        def watched(*arguments, **options):
            small = arguments and isinstance(arguments[0], bytes) and len(arguments[0]) < 1 << 14
            if not small:  # NiceGUI digests names
                found[name, in_event_loop()] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in WATCHED:
        watch(owner, name)
    return found


@pytest.fixture
def url(classifier, images, request):
    request.getfixturevalue("new_nicegui")
    engine = Engine(classifier)
    models = {name: ServedModel(name, Bundle(SHIPPED), engine) for name in ("first", "second")}
    with serving(create_app(AppContext(models, folder=images), Access())) as address:
        yield address
    engine.close()


def check(calls, *expected):
    assert not [name for name, in_loop in calls if in_loop]
    assert set(expected) <= {name for name, _ in calls}


@pytest.mark.slow
def test_the_rest_service(url, images, calls):
    archive, image = (images / "two.zip").read_bytes(), (images / "image.dcm").read_bytes()
    for options in (
        {"data": archive, "headers": {"Content-Type": "application/zip"}},
        {
            "files": [
                ("files", ("two.zip", archive)),
                ("files", ("image.png", (images / "image.png").read_bytes())),
            ]
        },
    ):
        assert requests.post(f"{url}/v1/predict", timeout=120, **options).ok
    for form in ("pdf", "sr", "heatmap"):
        answer = requests.post(f"{url}/v1/report?form={form}", files={"files": image}, timeout=120)
        assert answer.ok, answer.text
    check(calls, "__init__", "read", "check", "predict", "explain", "output", "load")


@browser_test
def test_the_page(url, images, calls, browser):
    browser.screen(1280)
    browser.open(url)
    browser.upload(images / "two.zip")
    browser.wait_for(".stage-note")
    browser.click(".sources .q-item", "Add images")
    browser.click(".examples button", "Clear lungs")
    browser.wait_for(".image-entry.current", "clear-lungs")
    browser.wait_for(".stage-note")
    browser.click(".downloads button", "PDF report")
    browser.downloaded(".pdf")
    browser.open_tab("Batch")
    browser.upload(images / "two.zip")
    browser.wait_for("[role=status]", "2 of 2 images in")
    browser.open_tab("Compare")
    browser.upload(images / "image.dcm")
    browser.wait_for("figure.picture", "Difference")
    check(calls, "__init__", "read", "check", "predict", "explain", "output", "save", "sha256", "_thorax")
