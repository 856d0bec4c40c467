"""The report as a reader meets it: numbers, verdict, one self-contained accessible page."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from evaluation_helpers import CONTROLS, NAMES, PROVENANCE, make_explanation, make_rows
from sklearn.metrics import roc_auc_score

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, choose_operating_point, decide
from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
from covid_monai.evaluation.report.report_files import write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


CONFOUNDING = {"verdict": "No shortcut was found in the data.", "shortcut": False}


def make_report(folder, rows, *, names=NAMES, operating_point=None, provenance=PROVENANCE, **checks):
    write_predictions(folder / "predictions.csv", rows, names)
    return write_report(
        folder / "predictions.csv", folder, operating_point=operating_point, provenance=provenance, **checks
    )


class Page(HTMLParser):
    """Tags, their attributes, the text, and whether every tag is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += " " + " ".join(data.split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rows = [*make_rows("validation", 90, seed=1), *make_rows("test", 120, seed=2)]
    checks = {"explanation": make_explanation(), "shortcut_controls": CONTROLS, "confounding": CONFOUNDING}
    return make_report(folder, rows, **checks), folder


def test_metrics_json_is_what_was_returned_without_nan(report):
    values, folder = report
    text = (folder / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == values
    assert values["notice"] == RESEARCH_USE
    assert values["model"] == PROVENANCE["model"]
    assert values["run"] == {"command": "covid-monai evaluate"}
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.json",
        "predictions.csv",
        "report.html",
    ]


def test_thresholds_come_from_validation_and_decide_on_test(report):
    values, folder = report
    predictions = read_predictions(folder / "predictions.csv")
    validation, test = predictions.split("validation"), predictions.split("test")
    known = {"patients": validation.patients, "sources": validation.sources}
    point = choose_operating_point(validation.labels, validation.probabilities, NAMES, **known)
    assert values["operating_point"]["thresholds"] == point.thresholds
    assert values["operating_point"]["chosen_on"] == {
        "split": "validation",
        "n": 90,
        "patients": 30,
        "datalist_digest": "sha256:aa",
        "cases": dict.fromkeys(NAMES, 30),
        "effective_patients": dict.fromkeys(NAMES, 30.0),
    }
    accuracy = np.mean(decide(test.probabilities, point) == test.labels)
    assert values["test"]["accuracy"]["value"] == pytest.approx(accuracy)
    expected = roc_auc_score(test.labels, test.probabilities, multi_class="ovr")
    assert values["test"]["auroc"]["value"] == pytest.approx(expected)
    assert values["test"]["auroc"]["low"] < expected < values["test"]["auroc"]["high"]
    assert values["classification_report"]["accuracy"] == pytest.approx(accuracy)


def test_data_are_counted_by_split_class_and_source(report):
    data = report[0]["data"]
    assert data["datalist_digest"] == "sha256:aa"
    assert data["splits"]["test"]["images"] == 120
    assert data["splits"]["test"]["patients"] == 40
    assert data["splits"]["test"]["classes"]["covid"] == {
        "images": 40,
        "patients": 40,
        "sources": {"hospital 0": 20, "hospital 1": 20},
    }


def test_page_is_well_formed_self_contained_and_accessible(report):
    text = (report[1] / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("title")
    assert len(page.all("h1")) == 1
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe"}]
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[\w+/=]+", "", text))
    images = page.all("img")
    # Confusion, ROC, precision-recall, reliability, two per disease, one per disease and source, one image
    # with its heat map.
    assert len(images) == 4 + 2 * 2 + 2 * 2 + 2
    assert all(image["alt"] and image["src"].startswith("data:image/") for image in images)
    assert len(text) < 6_000_000
    assert all("scope" in header for header in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)


def test_page_says_verdict_before_tables_and_shows_no_undefined_number(report):
    values, folder = report
    text = Page((folder / "report.html").read_text()).text
    assert RESEARCH_USE in text
    assert text.index(values["verdict"]["result"]) < text.index("Balanced accuracy")
    assert all(sentence in text for sentence in values["verdict"]["limits"])
    assert not re.search(r"\b(nan|None|Undefined)\b", text)


def test_shortcut_is_said_before_the_result(report):
    values, folder = report
    text = Page((folder / "report.html").read_text()).text
    assert text.index(CONTROLS["sentence"]) < text.index(values["verdict"]["result"])
    assert CONFOUNDING["verdict"] in text
    assert [check["shortcut"] for check in values["verdict"]["shortcuts"]] == [False, True]


@pytest.mark.slow
def test_without_checks_the_page_says_that_shortcuts_were_not_looked_for(tmp_path):
    values = make_report(tmp_path, make_rows("test", 30))
    assert "Shortcuts: not checked here" in Page((tmp_path / "report.html").read_text()).text
    assert values["explanation"] is None
    assert values["verdict"]["shortcuts"] == []


def test_pictures_stay_out_of_metrics_json(report):
    values, folder = report
    (case,) = values["explanation"]["gallery"]
    assert case["truth"] == "normal"
    assert not {"picture", "heatmap"} & set(case)
    assert "data:image" not in (folder / "metrics.json").read_text()


def test_sections_of_the_assessment_are_kept(report):
    for key in ("operating_points", "calibration", "abstention", "prevalence", "decision_curve", "subgroups"):
        assert report[0][key]


@pytest.mark.slow
def test_label_and_source_together_is_said_first(tmp_path):
    rows = make_rows("test", 60, source=lambda label, i: "cohen" if label == 2 else f"hospital {i % 2}")
    limits = make_report(tmp_path, rows)["verdict"]["limits"]
    assert limits[0].startswith(
        "Label and source go together: all 20 covid images (20 patients) come from one"
    )
    assert "no other class does" in limits[0]
    assert sum("Label and source" in sentence for sentence in limits) == 1


@pytest.mark.slow
def test_class_with_several_sources_of_its_own_is_still_confounded(tmp_path):
    rows = make_rows("test", 60, source=lambda label, i: f"{'adults' if label == 2 else 'children'} {i % 2}")
    limits = make_report(tmp_path, rows)["verdict"]["limits"]
    assert "come from these sources (adults 0, adults 1), and no other class does" in limits[0]


def test_shared_sources_are_not_called_confounded(report):
    assert not [s for s in report[0]["verdict"]["limits"] if "Label and source go together" in s]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "said"), [("kermany", "come from one source (kermany)"), (None, "is not recorded")]
)
def test_one_or_no_source_is_said(tmp_path, source, said):
    values = make_report(tmp_path, make_rows("test", 12, source=lambda *_: source))
    assert said in values["verdict"]["limits"][0]


@pytest.mark.slow
def test_without_validation_the_most_probable_class_is_the_decision(tmp_path):
    values = make_report(tmp_path, make_rows("test", 60))
    predictions = read_predictions(tmp_path / "predictions.csv")
    assert values["test"]["accuracy"]["value"] == np.mean(
        predictions.probabilities.argmax(1) == predictions.labels
    )
    assert values["validation"] is None
    assert values["operating_point"]["chosen_on"] == {}
    assert any("no validation split" in sentence for sentence in values["verdict"]["limits"])


@pytest.mark.slow
def test_given_operating_point_is_applied_unchanged(tmp_path):
    chosen_on = {"split": "validation", "datalist_digest": "sha256:other"}
    point = OperatingPoint("rule", {"no": 0.9, "yes": 0.1}, chosen_on)
    rows = [
        *make_rows("validation", 40, names=("no", "yes")),
        *make_rows("test", 40, names=("no", "yes"), seed=1),
    ]
    values = make_report(tmp_path, rows, names=("no", "yes"), operating_point=point)
    test = read_predictions(tmp_path / "predictions.csv").split("test")
    assert values["operating_point"] == point.to_json()
    assert values["test"]["accuracy"]["value"] == np.mean((test.probabilities[:, 1] >= 0.1) == test.labels)
    assert any("another datalist" in sentence for sentence in values["verdict"]["limits"])


@pytest.mark.slow
def test_thresholds_chosen_on_test_are_denounced(tmp_path):
    point = OperatingPoint("rule", dict.fromkeys(NAMES, 0.3), {"split": "test"})
    values = make_report(tmp_path, make_rows("test", 30), operating_point=point)
    assert any("chosen on test, not on the validation split" in s for s in values["verdict"]["limits"])


@pytest.mark.slow
def test_patient_in_validation_and_test_is_denounced(tmp_path):
    rows = [*make_rows("validation", 30, patient="p"), *make_rows("test", 30, patient="p")]
    assert any("in both validation and test" in s for s in make_report(tmp_path, rows)["verdict"]["limits"])


@pytest.mark.slow
def test_class_without_test_cases_neither_crashes_nor_prints_nan(tmp_path):
    rows = [row for row in make_rows("test", 40) if row["label"] != 2]
    values = make_report(tmp_path, rows)
    assert values["test"]["per_class"]["covid"]["sensitivity"] == {"value": None, "low": None, "high": None}
    assert values["classification_report"]["covid"]["recall"] is None
    assert any("no case of covid" in sentence for sentence in values["verdict"]["limits"])
    text = Page((tmp_path / "report.html").read_text()).text
    assert "not defined" in text
    assert not re.search(r"\b(nan|None)\b", text)


@pytest.mark.slow
def test_one_single_image_is_reported(tmp_path):
    values = make_report(tmp_path, make_rows("test", 1), provenance={})
    assert values["test"]["auroc"]["value"] is None
    assert "On 1 image of 1 patient of" in values["verdict"]["result"]
    assert Page((tmp_path / "report.html").read_text()).open == []


def test_markup_in_names_stays_text(tmp_path):
    names = ("<b>normal</b>", "[red]covid")
    provenance = {"model": {"name": "<script>alert(1)</script>"}}
    rows = make_rows("test", 20, names=names, source=lambda *_: '"><img src=x>')
    make_report(tmp_path, rows, names=names, provenance=provenance)
    page = Page((tmp_path / "report.html").read_text())
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert "<script>alert(1)</script>" in page.text


def test_every_key_of_metrics_json_is_documented(report):
    page = (Path(__file__).parents[3] / "docs" / "evaluation-report.md").read_text()
    lines = page.split("## The keys of metrics.json")[1].splitlines()
    rows = [line.split(" | ")[0] for line in lines if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(report[0])


def test_wrong_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="has no row of the split test"):
        make_report(tmp_path, make_rows("validation", 9))
    with pytest.raises(ValueError, match="operating point is for a, b"):
        make_report(tmp_path, make_rows("test", 9), operating_point=OperatingPoint.argmax("ab"))
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.slow
def test_report_needs_neither_network_library_nor_global_plotting_state():
    code = (
        "import sys, covid_monai.evaluation.report.report_files\n"
        "sys.exit(', '.join({'torch', 'monai', 'matplotlib.pyplot'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
