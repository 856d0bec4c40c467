"""The tabs Batch, Model and Compare in a real browser, on the real page with the shipped bundle."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from app_helpers import Page, Server, until
from dicom_helpers import make_ds, picture, save
from PIL import Image
from results_helpers import SHIPPED, small_classifier
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from covid_monai.bundle.bundle_zip import compute_sha256
from covid_monai.phantoms.dataset import write_phantoms

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs chromium and chromium-driver"),
]
NAMES = ("normal", "pneumonia", "covid")
BROKEN_PICTURES = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.alt)"
HOSTILE = "<script>document.title = 'taken over'; top.document.title = 'taken over'</script>"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
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


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def predicting(images, tmp_path_factory):
    """The command, at work while the server starts."""
    output = tmp_path_factory.mktemp("predict") / "results.csv"
    command = [sys.executable, "-m", "covid_monai", "predict", "--output", output, *sorted(images.iterdir())]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    yield process, output
    process.kill()
    process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory, images, other_bundle, predicting):  # noqa: ARG001  # it runs meanwhile
    running = Server(tmp_path_factory.mktemp("server"), "--compare", other_bundle, "--folder", images)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    made = Page(tmp_path_factory.mktemp("chromium"), tmp_path_factory.mktemp("downloads"))
    yield made
    made.driver.quit()


@pytest.fixture
def page(server, visitor):
    """The page, opened anew on a large screen."""
    visitor.screen(1280)
    visitor.open(server.url)
    return visitor


@pytest.fixture
def look(page, request):
    """Check that the page fits a screen, and save a picture of it if a folder is given."""
    folder = request.config.getoption("--screenshots")

    def check(name, width, *, dark=False):
        page.screen(width, dark=dark)
        page.driver.execute_script("scrollTo(0, 0)")
        assert page.fits()
        until(lambda: not page.cut_off(), f"nothing cut off: {page.cut_off()}")
        assert page.driver.execute_script(BROKEN_PICTURES) == []
        if folder:
            page.screenshot(Path(folder) / f"app-{name}-{width}{'-dark' * dark}.png")

    return check


@pytest.fixture(scope="module")
def by_command(predicting) -> dict:
    """What `covid-monai predict` says of the same files."""
    process, output = predicting
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1, said
    with output.open() as file:
        return {Path(row["file"]).name: row for row in csv.DictReader(file)}


def open_tab(page, name):
    page.click(".q-tab", name)
    page.wait_for(".q-tab--active", name)


def choose(page, label, option):
    page.choose(f".q-select:has([aria-label='{label}'])", option)
    page.wait_until_gone(".q-menu")


def csv_of(page):
    page.click("button", "CSV")
    path = page.downloaded(".csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    path.unlink()
    return rows


def rows_of(page, column):
    return page.texts(f".batch-table tbody td:nth-child({column})")


def percentage(text):
    """97.3 of `97.3 %`, `> 97.3 %` and `+97.3 points`."""
    return float(re.search(r"[-+]?[\d.]+", text)[0])


def outcomes_of(page):
    """File to words, kind and colour of its mark."""
    script = """return [...document.querySelectorAll('.batch-table tbody tr')].map(row => {
        const mark = row.querySelector('.outcome');
        return [row.cells[1].innerText, [mark.lastChild.textContent.trim(),
            mark.className.split('outcome-')[1], getComputedStyle(mark).backgroundColor]];
    })"""
    return dict(page.driver.execute_script(script))


def check_document(page, images):
    page.click("button", "PDF")
    pdf = page.downloaded(".pdf")
    if shutil.which("pdftotext"):
        done = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, timeout=60, check=True)
        words = done.stdout.decode()
        assert all(path.stem in words for path in images.iterdir())
        assert "not a medical device" in words
        assert "HAND" in words


def check_filters(page):
    """By a box, and by text."""
    choose(page, "Decision", "Refused")
    until(lambda: rows_of(page, 2) == ["hand.dcm"], "the refused image alone")
    choose(page, "Decision", "Any")
    page.type("input[type=search]", "0011")
    until(lambda: len(rows_of(page, 2)) == 2, "two images of one patient")
    page.type("input[type=search]", Keys.BACKSPACE * 4)
    until(lambda: len(rows_of(page, 2)) == 20, "all images")


def test_batch_of_twenty_one_corrupt_one_a_hand(page, images, by_command, look):
    open_tab(page, "Batch")
    page.upload(*sorted(images.iterdir()))
    page.wait_for("[role=status]", "20 of 20 images in")
    page.wait_for(".batch-table tbody", "hand.dcm")

    # Every status is that of the command; refused and error say why, and look like nothing else.
    shown = dict(zip(rows_of(page, 2), rows_of(page, 8), strict=True))
    assert shown == {name: row["status"] for name, row in by_command.items()}
    assert sorted(shown.values()) == ["error", *["ok"] * 18, "refused"]
    marks = outcomes_of(page)
    assert marks["hand.dcm"][:2] == ["Refused", "refused"]
    assert marks["cut-off.png"][:2] == ["Error", "error"]
    colours = {kind: colour for _, kind, colour in marks.values()}
    assert len(set(colours.values())) == len(colours) >= 4
    assert {"Normal", "Pneumonia"} <= {words for words, _, _ in marks.values()}
    (reason,) = [text for text in rows_of(page, 9) if "HAND" in text]
    assert "chest" in reason

    # Sorting, by the mouse and by the keyboard.
    page.click(".batch-table th:nth-child(5)")
    page.wait_for(".batch-table th[aria-sort=ascending]", "Pneumonia")
    in_order = [percentage(text) for text in rows_of(page, 5) if text]
    assert in_order == sorted(in_order)
    assert len(in_order) == 18
    page.type(".batch-table th:nth-child(5)", Keys.ENTER)
    page.wait_for(".batch-table th[aria-sort=descending]", "Pneumonia")
    assert [percentage(text) for text in rows_of(page, 5) if text] == in_order[::-1]

    # A row, opened with the keyboard.
    page.type(".row-button[aria-label*=PHANTOM]", Keys.ENTER)
    until(lambda: len(page.all(".details .picture img")) == 2, "image and heat map")
    assert "Grad-CAM" in page.text(".details")
    page.click(".details .downloads button", "JSON")
    assert json.loads(page.downloaded(".json").read_text())["status"] == "ok"
    assert any("PDF report" in words for words in page.texts(".details .downloads button"))
    look("batch-details", 1280)
    page.click(".details [aria-label=Close]")
    page.wait_until_gone(".details")

    check_document(page, images)
    check_filters(page)
    look("batch", 1280)
    look("batch", 390, dark=True)


def test_csv_of_a_folder_on_the_server_is_that_of_the_command(page, by_command):
    open_tab(page, "Batch")
    page.click("button", "Classify the folder")
    page.wait_for("[role=status]", "20 of 20 images in")
    found = csv_of(page)
    assert [row["file"] for row in found] == sorted(by_command)
    for row in found:
        expected = by_command[row["file"]]
        assert list(row) == list(expected)
        for name in row.keys() - {"file"}:
            if name.startswith("p_") and row[name]:
                assert float(row[name]) == pytest.approx(float(expected[name]), abs=1e-6)
            else:
                assert row[name] == expected[name], (row["file"], name)


def test_cancelled_batch_stops_and_keeps_what_is_done(page, images, tmp_path):
    # Large, so that no machine is through with all before the button is pressed.
    image = Image.open(next(images.glob("PHANTOM*.png"))).resize((6000, 6000), Image.Resampling.NEAREST)
    image.save(tmp_path / "image.png")
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(150):
            file.write(tmp_path / "image.png", f"deep/er/{number}.png")
    open_tab(page, "Batch")
    page.upload(archive)
    assert re.search(r"about \d+ s left", page.text("[role=status]", "images/s"))
    page.upload(sorted(images.iterdir())[0])  # would sweep the running batch away
    page.wait_for(".q-notification", "A batch is running")
    before = int(page.text("[role=status]", "images/s").split()[0])
    page.click("button", "Cancel")
    done = int(re.search(r"Cancelled: (\d+) of 150 images", page.text("[role=status]", "Cancelled"))[1])
    assert before <= done < 150
    assert "Cancel" not in page.texts("button")
    assert len(csv_of(page)) == done


def test_model_tab_tells_what_the_models_are_and_what_was_found(page, other_bundle, look):
    open_tab(page, "Model")
    text = page.text(".model-body", "SHA-256")
    assert compute_sha256(SHIPPED / "models" / "model.pt") in text
    thresholds = json.loads((SHIPPED / "models" / "operating_point.json").read_text())["thresholds"]
    assert all(f"{value:.3f}" in text for value in thresholds.values())
    assert "Do not believe the headline" in text  # of its model card
    look("model", 1280, dark=True)
    look("model", 390)
    page.screen(1280)

    choose(page, "Model", "other")
    text = page.text(".model-body", compute_sha256(other_bundle / "models" / "model.pt"))
    assert "The label can be predicted from the border alone." in text
    assert page.all(".verdict-found")
    metrics = json.loads((other_bundle / "evaluation" / "metrics.json").read_text())
    assert metrics["verdict"]["result"] in text
    assert len(page.all(".rocs .roc-curve")) == len(page.all(".rocs .roc-point")) == 3

    # Neither card nor report runs a script, nor fetches a picture.
    assert not page.driver.find_elements(By.CSS_SELECTOR, ".model-card script, .model-card img")
    page.click("button", "Open the report")
    frame = page.wait_for("iframe")
    assert frame.get_attribute("sandbox") == ""
    page.driver.switch_to.frame(frame)
    page.wait_for("body", "What was found")
    page.driver.switch_to.default_content()
    look("model-report", 1280)
    assert "taken over" not in page.driver.title


def test_compare_shows_two_models_on_one_image(page, images, by_command, look):
    image = sorted(images.glob("*.jpg"))[0]
    open_tab(page, "Compare")
    page.upload(image)
    until(lambda: len(page.all(".compare-body .picture img")) == 3, "two heat maps and their difference")
    cards = page.texts(".side-by-side .card")
    assert len(cards) == 2
    assert "(other)" in cards[1]
    assert "(other)" not in cards[0]
    table = [text.split("\t")[-3:] for text in page.texts(".compare-body table tbody tr")]
    for name, row in zip(NAMES, table, strict=True):
        first, second, difference = map(percentage, row)
        assert first == pytest.approx(100 * float(by_command[image.name][f"p_{name}"]), abs=6e-2)
        assert second - first == pytest.approx(difference, abs=0.2)
    assert any(first != second for first, second, _ in table)
    pictures = [e.get_attribute("src") for e in page.all(".compare-body .picture img")]
    assert len(set(pictures)) == 3
    choose(page, "Evidence for", "COVID-19")
    captions = ["First: evidence for COVID-19", "Second: evidence for COVID-19"]
    until(lambda: page.texts(".compare-body figcaption")[:2] == captions, "heat maps of another class")
    look("compare", 1280)
    look("compare", 390, dark=True)


def test_nothing_is_said_of_the_images(server, images):
    """Runs last: all the above is in the log."""
    said = server.log.read_text()
    assert not [path.name for path in images.iterdir() if path.stem in said]
    assert "Traceback" not in said
