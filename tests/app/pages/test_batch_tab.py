"""The batch tab in a browser: progress, table, filters, dialog, downloads, cancelling."""

import csv
import io
import json
import re
import shutil
import subprocess
import zipfile

import pytest
from app_helpers import browser_test, percentage, until
from PIL import Image
from prediction_helpers import REFUSED, prediction
from selenium.webdriver.common.keys import Keys

from covid_monai.api.uploads import Upload
from covid_monai.app.pages.batch_tab import row_of
from covid_monai.app.session import ClassifiedImage


@pytest.fixture(scope="module")
def server(two_models):
    """The page with two models."""
    return two_models


def csv_of(page):
    page.click("button", "CSV")
    path = page.downloaded(".csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    path.unlink()
    return rows


def rows_of(page, column):
    return page.texts(f".batch-table tbody td:nth-child({column})")


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
    page.choose_labelled("Decision", "Refused")
    until(lambda: rows_of(page, 2) == ["hand.dcm"], "the refused image alone")
    page.choose_labelled("Decision", "Any")
    page.type("input[type=search]", "0011")
    until(lambda: len(rows_of(page, 2)) == 2, "two images of one patient")
    page.type("input[type=search]", Keys.BACKSPACE * 4)
    until(lambda: len(rows_of(page, 2)) == 20, "all images")


def test_a_row_says_of_every_image_what_was_decided_and_why():
    found = row_of(
        3, ClassifiedImage(Upload("image.png", b""), prediction("image.png", normal=0.25), b"jpeg")
    )
    assert (found["number"], found["file"], found["status"], found["kind"]) == (
        3,
        "image.png",
        "ok",
        "finding",
    )
    assert found["p_normal"] == 0.25
    assert found["thumbnail"].startswith("data:image/jpeg;base64,")
    refused = row_of(4, ClassifiedImage(Upload("hand.dcm", b""), REFUSED))
    assert (refused["outcome"], refused["class_name"], refused["thumbnail"]) == ("Refused", "", None)
    assert refused["reason"]
    assert not [key for key in refused if key.startswith("p_")]


@browser_test
def test_batch_of_twenty_one_corrupt_one_a_hand(page, many_images, by_command, look):
    page.open_tab("Batch")
    page.upload(*sorted(many_images.iterdir()))
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
    assert {"Normal", "Abnormal, cause not told"} <= {words for words, _, _ in marks.values()}
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

    check_document(page, many_images)
    check_filters(page)
    look("batch", 1280)
    look("batch", 390, dark=True)


@browser_test
def test_csv_of_a_folder_on_the_server_is_that_of_the_command(page, by_command):
    page.open_tab("Batch")
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


@browser_test
def test_cancelled_batch_stops_and_keeps_what_is_done(page, many_images, tmp_path):
    # Large, so that no machine is through with all before the button is pressed.
    image = Image.open(next(many_images.glob("PHANTOM*.png"))).resize((6000, 6000), Image.Resampling.NEAREST)
    image.save(tmp_path / "image.png")
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(150):
            file.write(tmp_path / "image.png", f"deep/er/{number}.png")
    page.open_tab("Batch")
    page.upload(archive)
    assert re.search(r"about \d+ s left", page.text("[role=status]", "images/s"))
    page.upload(sorted(many_images.iterdir())[0])  # would sweep the running batch away
    page.wait_for(".q-notification", "A batch is running")
    before = int(page.text("[role=status]", "images/s").split()[0])
    page.click("button", "Cancel")
    done = int(re.search(r"Cancelled: (\d+) of 150 images", page.text("[role=status]", "Cancelled"))[1])
    assert before <= done < 150
    assert "Cancel" not in page.texts("button")
    assert len(csv_of(page)) == done
