"""The page on a real server, and a browser that visits it."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from app_helpers import Page, Server, until
from dicom_helpers import make_ds, picture, save
from PIL import Image
from pydicom import dcmread
from results_helpers import SHIPPED, small_classifier

from covid_monai.app.sources import EXAMPLES, Example
from covid_monai.phantoms.dataset import write_phantoms
from covid_monai.readers import read_radiograph

BROKEN_PICTURES = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.alt)"
HOSTILE = "<script>document.title = 'taken over'; top.document.title = 'taken over'</script>"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    visitor = Page(tmp_path_factory.mktemp("chromium"), tmp_path_factory.mktemp("downloads"))
    yield visitor
    visitor.driver.quit()


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """An image with a window of its own, one that is refused, a picture, and a file that is damaged."""
    folder = tmp_path_factory.mktemp("images")
    image = dcmread(io.BytesIO(Example("image", "normal", 4).draw().data))
    image.PatientName, image.PatientID = "Secret^Patient", "SECRET-1"
    image.save_as(folder / "image.dcm")
    (folder / "damaged.dcm").write_bytes((folder / "image.dcm").read_bytes()[:3000])
    (folder / "turned.dcm").write_bytes(EXAMPLES[-1].draw().data)
    grey = (read_radiograph(folder / "image.dcm")[0][0] * 255).astype(np.uint8)
    Image.fromarray(grey).save(folder / "image.jpg", quality=95)
    Image.fromarray(grey).save(folder / "image.png")
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        for name in ("image.jpg", "turned.dcm"):
            archive.write(folder / name, f"images/{name}")
    return folder


@pytest.fixture(scope="session")
def decisive(tmp_path_factory) -> Path:
    """The shipped bundle with smaller prediction sets: it is uncertain of every drawn normal image."""
    folder = tmp_path_factory.mktemp("decisive") / SHIPPED.name
    shutil.copytree(SHIPPED, folder)
    path = folder / "models" / "calibration.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"conformal": {"normal": 0.45, "pneumonia": 0.4, "covid": 0.2}}))
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, images, decisive):
    """The page with one model, a folder and small limits; its log names no image and no patient."""
    options = ("--folder", images, "--max-upload-mib", 8, "--allow-urls")
    running = Server(tmp_path_factory.mktemp("server"), "--bundle", decisive, *options)
    yield running
    running.stop()
    assert not re.search("secret|image|patient|Traceback", running.log.read_text(), re.IGNORECASE)


@pytest.fixture
def page(server, browser) -> Page:
    """The page, opened anew on a large screen, without downloads of earlier tests."""
    for old in browser.downloads.iterdir():
        old.unlink()
    browser.screen(1280)
    browser.driver.get_log("performance")
    browser.open(server.url)
    return browser


@pytest.fixture
def shots(request) -> Path | None:
    """Folder for pictures of the page, if one is given."""
    folder = request.config.getoption("--screenshots")
    return Path(folder) if folder else None


@pytest.fixture(scope="session")
def many_images(tmp_path_factory) -> Path:
    """Eighteen chest images, a file that is cut off, and a hand."""
    folder = tmp_path_factory.mktemp("images")
    drawn = write_phantoms(folder / "drawn", patients=12, size=256, ct=False).parent / "images"
    for path in drawn.iterdir():
        shutil.move(path, folder)
    shutil.rmtree(folder / "drawn")
    whole = next(folder.glob("*.png")).read_bytes()
    (folder / "cut-off.png").write_bytes(whole[: len(whole) // 3])
    save(make_ds(picture(256, 256), BodyPartExamined="HAND"), folder / "hand.dcm")
    assert len(list(folder.iterdir())) == 20
    return folder


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory) -> Path:
    """Random weights, with an evaluation and a model card that tries to run a script."""
    folder = tmp_path_factory.mktemp("bundles") / "other"
    model = small_classifier(folder).model
    evaluation = folder / "evaluation"
    evaluation.mkdir()
    metrics = json.loads((SHIPPED / "evaluation" / "metrics.json").read_text())
    metrics["model"] = dict(model)
    metrics["verdict"]["shortcuts"] = [
        {"sentence": "The label can be predicted from the border alone.", "shortcut": True}
    ]
    (evaluation / "metrics.json").write_text(json.dumps(metrics))
    (evaluation / "report.html").write_text(f"<html><h1>What was found</h1>{HOSTILE}</html>")
    card = folder / "docs" / "README.md"
    card.write_text(card.read_text() + "\n\n" + HOSTILE + "\n\n![x](http://127.0.0.1:9/x.png)\n")
    return folder


@pytest.fixture(scope="session")
def predicting(many_images, decisive, tmp_path_factory):
    """The command, at work while the server starts."""
    output = tmp_path_factory.mktemp("predict") / "results.csv"
    command = [sys.executable, "-m", "covid_monai", "predict", "--output", output]
    command += ["--bundle", decisive]
    command += sorted(many_images.iterdir())
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    yield process, output
    process.kill()
    process.wait(20)


@pytest.fixture(scope="session")
def by_command(predicting) -> dict:
    """What `covid-monai predict` says of `many_images`."""
    process, output = predicting
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1, said
    with output.open() as file:
        return {Path(row["file"]).name: row for row in csv.DictReader(file)}


@pytest.fixture(scope="session")
def two_models(tmp_path_factory, many_images, decisive, other_bundle):
    """The page with two models; its log names no image."""
    folder = tmp_path_factory.mktemp("server")
    options = ("--compare", other_bundle, "--folder", many_images)
    running = Server(folder, "--bundle", decisive, *options)
    yield running
    running.stop()
    said = running.log.read_text()
    assert not [path.name for path in many_images.iterdir() if path.stem in said]
    assert "Traceback" not in said


@pytest.fixture
def look(browser, shots):
    """Check that the page fits a screen, and save a picture of it if a folder is given."""

    def check(name, width, *, dark=False):
        browser.screen(width, dark=dark)
        browser.driver.execute_script("scrollTo(0, 0)")
        assert browser.fits()
        until(lambda: not browser.cut_off(), f"nothing cut off: {browser.cut_off()}")
        assert browser.driver.execute_script(BROKEN_PICTURES) == []
        if shots:
            browser.screenshot(shots / f"app-{name}-{width}{'-dark' * dark}.png")

    return check
