"""How outcomes are displayed, and the files that a visitor downloads for a result."""

import json
import shutil
import subprocess
from types import SimpleNamespace

from app_helpers import browser_test
from pydicom import dcmread
from results_helpers import classified, two_levels

from covid_monai.app.widgets.result import LEGEND, called_style, outcome_style, reason_text
from covid_monai.core.vocabulary import RESEARCH_USE, Status
from covid_monai.inference.prediction import Prediction


def test_outcomes_differ_in_word_and_icon():
    assert len({style.words for style in LEGEND}) == len({style.icon for style in LEGEND}) == len(LEGEND) == 5
    model = {"name": "m", "version": "1", "weights_sha256": "0", "preprocessing_digest": "0"}
    kinds = {
        status: outcome_style(
            Prediction(file="f", status=status, model=model, predicted_class="normal", decision=None)
        ).kind
        for status in Status
    }
    assert kinds == {Status.OK: "normal", Status.REFUSED: "refused", Status.ERROR: "error"}


def test_abnormal_is_displayed_before_its_cause():
    decided = classified(SimpleNamespace(model={}), "f")
    styles = [
        outcome_style(two_levels(decided)),
        outcome_style(two_levels(decided, cause="covid")),
        called_style("covid", two_levels(decided)),
        outcome_style(two_levels(decided, call=None)),
        outcome_style(two_levels(decided, call=False)),
        called_style("covid", decided),
    ]
    assert [(style.kind, style.words) for style in styles] == [
        ("finding", "Abnormal, cause not told"),
        ("finding", "Abnormal: COVID-19 (not validated at this hospital)"),
        ("finding", "COVID-19 (not validated at this hospital)"),
        ("uncertain", "Uncertain"),
        ("normal", "Normal"),
        ("finding", "COVID-19"),
    ]
    assert reason_text(two_levels(decided)) == "The evidence is below the cut."


@browser_test
def test_downloads_are_what_they_say(page, images):
    page.upload(images / "image.dcm")
    page.wait_for(".viewer[data-drawn=yes]")
    for name in ("PDF report", "JSON", "DICOM SR"):
        page.click(".downloads button", name)
    pdf, record, report = (page.downloaded(suffix) for suffix in (".pdf", ".json", ".dcm"))
    assert "SECRET" not in pdf.name + record.name + report.name
    assert json.loads(record.read_text())["predicted_class"] == "normal"
    if shutil.which("pdftotext"):
        words = subprocess.run(["pdftotext", pdf, "-"], capture_output=True, timeout=60, check=True).stdout
        assert b"Secret" in words
        assert b"Normal" in words
        assert RESEARCH_USE.encode() in words
    if shutil.which("dsrdump"):
        dump = subprocess.run(["dsrdump", report], capture_output=True, timeout=60, check=True).stdout
        assert b"Probability of Normal" in dump
        assert b"Secret^Patient" in dump
    report.unlink()
    page.click(".downloads button", "Secondary Capture")
    capture = dcmread(page.downloaded(".dcm"))
    assert capture.Modality == "OT" or capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert capture.pixel_array.ndim == 3
