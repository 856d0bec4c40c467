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

import numpy as np
import pytest
from app_made_here import NEEDS_BROWSER, App, Browser
from archive_made_here import wait_until
from dicom_made_here import make_ds, picture, save
from results_made_here import SHIPPED, small_classifier
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from covid_monai.archive import sha256
from covid_monai.datasets.phantom_files import write_phantoms
from covid_monai.evaluation.predictions import write_predictions
from covid_monai.evaluation.report import write_report

pytestmark = [pytest.mark.slow, NEEDS_BROWSER]
NAMES = ("normal", "pneumonia", "covid")
HOSTILE = "<script>document.title = 'taken over'; top.document.title = 'taken over'</script>"


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """Eighteen chest films, a file that is cut off, and a hand."""
    folder = tmp_path_factory.mktemp("films")
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
    rng, rows = np.random.default_rng(0), []
    for i in range(90):
        weights = np.exp(rng.normal(size=3) + 2 * np.eye(3)[i % 3])
        known = {"image": f"{i}.png", "split": "test", "patient": str(i), "label": i % 3, "source": ""}
        rows.append(known | {"probabilities": weights / weights.sum()})
    evaluation = folder / "evaluation"
    write_predictions(evaluation / "predictions.csv", rows, NAMES)
    found = {"verdict": "Shortcut: the label can be predicted from the border alone.", "shortcut": True}
    write_report(
        evaluation / "predictions.csv",
        evaluation,
        operating_point=None,
        provenance={"model": dict(model)},
        confounding=found,
    )
    report = evaluation / "report.html"
    report.write_text(report.read_text() + HOSTILE)
    card = folder / "docs" / "README.md"
    card.write_text(card.read_text() + "\n\n" + HOSTILE + "\n\n![x](http://127.0.0.1:9/x.png)\n")
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory, films, other_bundle):
    log = tmp_path_factory.mktemp("app") / "app.log"
    server = App(log, "--compare", other_bundle, "--folder", films)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.driver.quit()


@pytest.fixture
def page(app, browser):
    """The page, fresh, on a desk's screen."""
    browser.resize(1280)
    browser.driver.get(app.url)
    return browser


@pytest.fixture(scope="module")
def by_command(films, tmp_path_factory) -> dict:
    """What `covid-monai predict` says of the same files."""
    output = tmp_path_factory.mktemp("predict") / "results.csv"
    command = [sys.executable, "-m", "covid_monai", "predict", "--output", output, *sorted(films.iterdir())]
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    return {Path(row["file"]).name: row for row in csv.DictReader(output.open())}


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


def batch_ended(page, words="20 of 20 films in"):
    page.await_one("[role=status]", text=words, seconds=120)


def test_batch_of_twenty_one_corrupt_one_a_hand(page, films, by_command, request):
    shots = request.config.getoption("--screenshots")
    page.open_tab("Batch")
    page.hand_in(*sorted(films.iterdir()))
    batch_ended(page)
    page.await_one(".batch-table tbody", text="hand.dcm")

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
    page.find(".batch-table th")[4].click()
    page.await_one(".batch-table th[aria-sort=ascending]", text="Pneumonia")
    in_order = [float(text) for text in rows_of(page, 5) if text]
    assert in_order == sorted(in_order) and len(in_order) == 18
    page.find(".batch-table th")[4].send_keys(Keys.ENTER)
    page.await_one(".batch-table th[aria-sort=descending]", text="Pneumonia")
    assert [float(text) for text in rows_of(page, 5) if text] == in_order[::-1]

    # A row, opened with the keyboard.
    first = next(e for e in page.find(".film-button") if "PHANTOM" in e.get_attribute("aria-label"))
    first.send_keys(Keys.ENTER)
    wait_until(lambda: len(page.find(".details .picture img")) == 2, seconds=60)
    assert "Grad-CAM" in page.find(".details")[0].text
    page.check_layout(1280)
    page.shoot(shots, "batch-details-1280")
    page.await_one(".details [aria-label=Close]").click()
    wait_until(lambda: not page.find(".details"), seconds=20)

    # Filters, by a box and by text.
    page.choose("Decision", "Refused")
    wait_until(lambda: rows_of(page, 2) == ["hand.dcm"], seconds=20)
    page.choose("Decision", "Any")
    search = page.find("input[type=search]")[0]
    search.send_keys("0011")
    wait_until(lambda: len(rows_of(page, 2)) == 2, seconds=20)
    search.send_keys(Keys.BACKSPACE * 4)
    wait_until(lambda: len(rows_of(page, 2)) == 20, seconds=20)

    for width, dark in ((1280, False), (390, True)):
        page.resize(width, dark=dark)
        page.check_layout(width)
        page.shoot(shots, f"batch-{width}")


def test_csv_of_a_folder_on_the_server_is_that_of_the_command(page, by_command):
    page.open_tab("Batch")
    page.await_one("button", text="Classify the folder").click()
    batch_ended(page)
    page.await_one("button", text="CSV").click()
    found = list(csv.DictReader(io.StringIO(page.downloaded(".csv").decode())))
    assert [row["file"] for row in found] == sorted(by_command)
    for row in found:
        expected = by_command[row["file"]]
        assert list(row) == list(expected)
        for name in row.keys() - {"file"}:
            if name.startswith("p_") and row[name]:
                assert float(row[name]) == pytest.approx(float(expected[name]), abs=1e-6)
            else:
                assert row[name] == expected[name], (row["file"], name)


def test_cancelled_batch_stops_and_keeps_what_is_done(page, films, tmp_path):
    archive = tmp_path / "many.zip"
    chest = sorted(films.glob("PHANTOM*"))
    with zipfile.ZipFile(archive, "w") as file:
        for turn in range(10):
            for path in chest:
                file.write(path, f"deep/er/{turn}-{path.name}")
    page.open_tab("Batch")
    page.hand_in(archive)
    status = page.await_one("[role=status]", text="images/s", seconds=120)
    assert re.search(r"about \d+ s left", status.text)
    before = int(status.text.split()[0])
    page.await_one("button", text="Cancel").click()
    page.await_one("[role=status]", text="Cancelled")
    done = int(re.search(r"Cancelled: (\d+) of 180 films", status.text)[1])
    assert before <= done < 180
    assert not [e for e in page.find("button") if "Cancel" in e.text]
    page.await_one("button", text="CSV").click()
    assert len(list(csv.DictReader(io.StringIO(page.downloaded(".csv").decode())))) == done


def test_model_tab_tells_what_the_models_are_and_what_was_found(page, other_bundle, request):
    shots = request.config.getoption("--screenshots")
    page.open_tab("Model")
    text = page.await_one(".model-body", text="SHA-256").text
    assert sha256(SHIPPED / "models" / "model.pt") in text
    thresholds = json.loads((SHIPPED / "models" / "operating_point.json").read_text())["thresholds"]
    assert all(f"{value:.3f}" in text for value in thresholds.values())
    assert "Do not believe the headline" in text  # of its model card
    for width, dark in ((1280, True), (390, False)):
        page.resize(width, dark=dark)
        page.check_layout(width)
        page.shoot(shots, f"model-{width}")
    page.resize(1280)

    page.choose("Model", "other")
    body = page.await_one(".model-body", text=sha256(other_bundle / "models" / "model.pt"))
    assert "Shortcut: the label can be predicted from the border alone." in body.text
    assert page.find(".verdict-found")
    metrics = json.loads((other_bundle / "evaluation" / "metrics.json").read_text())
    assert metrics["verdict"]["result"] in body.text
    roc = next(e for e in page.find(".picture img") if "operating point" in e.get_attribute("alt"))
    assert int(roc.get_attribute("naturalWidth")) > 300
    page.shoot(shots, "model-evaluated-1280")
    # Neither card nor report runs a script, nor fetches a picture.
    page.await_one("button", text="Open the report").click()
    frame = page.await_one("iframe")
    page.driver.switch_to.frame(frame)
    page.await_one("body", text="What was found")
    page.driver.switch_to.default_content()
    assert frame.get_attribute("sandbox") == ""
    assert "taken over" not in page.driver.title
    assert not page.driver.find_elements(By.CSS_SELECTOR, ".model-card script, .model-card img")
    page.shoot(shots, "model-report-1280")


def test_compare_shows_two_models_on_one_film(page, films, by_command, request):
    shots = request.config.getoption("--screenshots")
    film = sorted(films.glob("*.jpg"))[0]
    page.open_tab("Compare")
    page.hand_in(film)
    wait_until(lambda: len(page.find(".compare-body .picture img")) == 3, seconds=120)
    cards = page.texts(".side-by-side .card")
    assert len(cards) == 2 and "(other)" in cards[1] and "(other)" not in cards[0]
    table = [text.split() for text in page.texts(".compare-body table tbody tr")]
    for name, (_, first, second, difference) in zip(NAMES, table, strict=True):
        assert float(first) == pytest.approx(float(by_command[film.name][f"p_{name}"]), abs=6e-4)
        assert float(second) - float(first) == pytest.approx(float(difference), abs=2e-3)
    assert any(first != second for _, first, second, _ in table)
    pictures = [e.get_attribute("src") for e in page.find(".compare-body .picture img")]
    assert len(set(pictures)) == 3
    page.choose("Evidence for", "COVID-19")
    wait_until(
        lambda: page.texts(".compare-body figcaption")[:1] == ["First: evidence for COVID-19"],
        seconds=60,
    )
    for width, dark in ((1280, False), (390, True)):
        page.resize(width, dark=dark)
        page.check_layout(width)
        page.shoot(shots, f"compare-{width}")


def test_nothing_is_said_of_the_films(app, films):
    """Runs last: all the above is in the log."""
    assert not [path.name for path in films.iterdir() if path.stem in app.printed]
    assert "Traceback" not in app.printed
