"""The sheets hold every item and domain of the guidelines, and fill in only what the run knows."""

import re

import pytest
import yaml
from jinja2.meta import find_undeclared_variables

from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
from covid_monai.evaluation.report import reporting_checklist
from covid_monai.evaluation.report.report_files import write_report
from covid_monai.evaluation.report.reporting_checklist import checklist_facts
from covid_monai.evaluation.report.templates import ENVIRONMENT

TRIPOD_ITEMS = {str(i) for i in range(1, 28)}


def rows(*, patient="{split}{i}", **facts):
    for split in ("validation", "test"):
        for i in range(12):
            p = 0.9 if i % 3 else 0.2
            label = {"label": i % 2, "probabilities": (1 - p, p), "patient": patient.format(split=split, i=i)}
            yield {"image": f"{split}{i}.png", "split": split, **label, **facts}


def report_of(folder, predictions, **provenance):
    write_predictions(folder / "predictions.csv", predictions, ("no", "yes"))
    return write_report(folder / "predictions.csv", folder, operating_point=None, provenance=provenance)


def answer(sheet, claim):
    return next(row["answer"] for row in sheet if row["claim"] == claim)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    facts = {"source": "a", "sex": "F", "age": 40.0, "view": "PA"}
    provenance = {"datalist": "x/list.json", "datalist_digest": "d1", "images_not_counted": 2}
    return report_of(tmp_path_factory.mktemp("sheet"), rows(**facts), **provenance)


@pytest.fixture
def sheet(report):
    return report["reporting_checklist"]


def test_every_item_of_both_guidelines_is_there(sheet):
    assert {row["claim"] for row in sheet if row["claim"]} == {str(i) for i in range(1, 45)}
    named = {re.match(r"\d+", part)[0] for row in sheet for part in (row["tripod"] or "").split(", ") if part}
    assert named == TRIPOD_ITEMS


def test_what_only_authors_know_stays_blank(sheet):
    for claim in ("2", "4", "14", "16", "34", "44"):
        assert answer(sheet, claim) is None


def test_what_the_run_knows_is_filled(sheet):
    assert answer(sheet, "7") == "a (24 images)"
    assert answer(sheet, "12") == "Source, view, sex and age are recorded for every image"
    assert "list.json" in answer(sheet, "19")
    assert answer(sheet, "20") == "By patient: no patient is in both test and validation"
    assert "scikit-learn" in answer(sheet, "23")
    assert "age median 40" in answer(sheet, "36")
    assert "F 12" in answer(sheet, "36")
    assert "of 12 test images classified wrongly" in answer(sheet, "39")
    assert "The test split of the datalist that the model comes from" in answer(sheet, "32")
    assert answer(sheet, "33") is None


def test_shared_patients_and_missing_facts_are_told(tmp_path):
    report = report_of(tmp_path, rows(patient="p{i}"))
    sheet = report["reporting_checklist"]
    assert facts_beside(report, "leakage") == "12 patients in test and validation"
    assert answer(sheet, "20") == "Not disjoint: 12 patients are in test and validation"
    assert answer(sheet, "12").startswith("Not recorded, of 24 images: source 24, view 24, sex 24, age 24")
    assert answer(sheet, "7") is None
    assert answer(sheet, "19") is None
    assert answer(sheet, "36") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("external", "answered"),
    [
        (True, "Hospitals and sources that were not in training: "),
        (False, "Not external: another datalist, with hospitals or sources of the training"),
        (None, "Not external: another datalist, and the bundle does not record the hospitals"),
    ],
)
def test_external_is_only_a_test_of_other_hospitals(tmp_path, external, answered):
    write_predictions(tmp_path / "predictions.csv", rows(), ("no", "yes"))
    report = write_report(
        *(tmp_path / "predictions.csv", tmp_path),
        operating_point=OperatingPoint("rule", {"no": 0.5, "yes": 0.5}, {"datalist_digest": "training"}),
        provenance={"datalist_digest": "other", "external": external},
    )
    assert answer(report["reporting_checklist"], "33").startswith(answered)
    assert report["data"]["external"] is external


def facts_beside(report, word):
    (facts,) = (row["facts"] for row in report["risk_of_bias"] if word in row["question"])
    return facts


def test_probast_has_its_domains_and_facts_but_no_judgement(report):
    asked = {(row["domain"], row["part"]) for row in report["risk_of_bias"]}
    domains = ("Participants and data sources", "Predictors", "Outcome", "Analysis")
    assert asked >= {(domain, "both") for domain in domains}
    assert asked >= {("Analysis", "development"), ("Analysis", "evaluation")}
    assert facts_beside(report, "included and excluded") == "2 listed images could not be read"
    assert facts_beside(report, "leakage") == "No patient is in both test and validation"
    # The split is the one above: labels alternate over twelve patients.
    assert facts_beside(report, "enough participants with each outcome?") == (
        "Patients of the test split: no 6, yes 6"
    )
    for word in ("reference standard", "knowledge of the outcome", "time between"):
        assert facts_beside(report, word) is None
    assert all(row.keys() == {"domain", "part", "question", "facts"} for row in report["risk_of_bias"])


@pytest.mark.slow
def test_answers_use_every_fact_and_nothing_that_does_not_exist(tmp_path):
    folder = reporting_checklist.resources.files("covid_monai.evaluation.report")
    entries = yaml.safe_load((folder / "reporting_checklist.yaml").read_text())
    questions = yaml.safe_load((folder / "risk_of_bias.yaml").read_text())
    templates = [e.get("answer", "") for e in entries] + [q.get("facts", "") for q in questions]
    used = set().union(*(find_undeclared_variables(ENVIRONMENT.parse(text)) for text in templates))
    report = report_of(tmp_path, rows())
    facts = set(checklist_facts(report, read_predictions(tmp_path / "predictions.csv")))
    assert facts <= used <= facts | set(report) - {"reporting_checklist", "risk_of_bias"}
