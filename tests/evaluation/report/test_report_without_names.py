"""The report without names has every number and figure of the whole one, and no text of a datalist."""

import json
import re

import pytest
from evaluation_helpers import CONTROLS, NAMES, PROVENANCE, make_explanation, make_rows

from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
from covid_monai.evaluation.report.report_files import write_report
from covid_monai.evaluation.report.report_without_names import remove_names

PLANTED = "Zzplanted, Name"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """`metrics.json` and page of a table whose every text column holds a name, and their copies without."""
    folder = tmp_path_factory.mktemp("report")

    def planted(split: str, number: int):
        for i, row in enumerate(make_rows(split, number)):
            texts = {key: f"{PLANTED} {key} {row[key]}" for key in ("image", "patient", "source")}
            yield {
                **row,
                **texts,
                "view": ("PA", f"{PLANTED} lying")[i % 2],
                "sex": ("F", PLANTED)[i // 2 % 2],
            }

    table = folder / f"{PLANTED}.csv"
    write_predictions(table, [*planted("validation", 60), *planted("test", 90)], NAMES)
    explanation = make_explanation()
    explanation["gallery"][0]["image"] = f"{PLANTED}/1.png"
    confounding = {"verdict": "No sign.", "shortcut": False, "unreadable": [f"{PLANTED}.png"]}
    confounding |= {"tables": [{"rows": [[PLANTED]]}], "probes": [{"name": f"leave out {PLANTED}"}]}
    metrics = write_report(
        table,
        folder,
        operating_point=None,
        provenance=PROVENANCE | {"datalist": f"/data/{PLANTED}.json", "command": f"evaluate {PLANTED}"},
        explanation=explanation,
        shortcut_controls=CONTROLS,
        confounding=confounding,
    )
    whole = json.dumps(metrics), (folder / "report.html").read_text()
    copy, page = remove_names(metrics, read_predictions(table))
    return whole, (json.dumps(copy), page)


def test_the_whole_report_names_everything_and_the_copy_nothing(evaluated):
    for whole, copy in zip(*evaluated, strict=True):
        assert PLANTED.lower() in whole.lower()
        assert "zzplanted" not in copy.lower()
        assert "name lying" not in copy.lower()


def test_the_copy_has_the_figures_but_no_image_of_a_patient(evaluated):
    (_, whole), (_, copy) = evaluated
    figures = re.findall(r"data:image/png;base64,[\w+/=]+", whole)
    assert len(figures) >= 7
    assert re.findall(r"data:image/png;base64,[\w+/=]+", copy) == figures
    assert "data:image/jpeg" in whole
    assert "data:image/jpeg" not in copy
    assert 'id="gallery"' not in copy
    assert 'id="saliency"' in copy


def test_the_copy_has_the_same_numbers(evaluated):
    (whole, _), (copy, _) = ((json.loads(text), page) for text, page in evaluated)
    text_keys = {"verdict", "data", "subgroups", "sources", "abstention", "explanation", "confounding", "run"}
    text_keys |= {"reporting_checklist", "risk_of_bias"}
    assert whole.keys() == copy.keys()
    for key in whole.keys() - text_keys:
        assert whole[key] == copy[key]
    named = (
        ("subgroups", "rows", "name"),
        ("sources", "rows", "source"),
        ("abstention", "per_source", "source"),
    )
    for key, rows, name in named:
        strip = [
            {**each[key], rows: [{**row, name: ""} for row in each[key][rows]]} for each in (whole, copy)
        ]
        assert strip[0] == strip[1]
    assert {row["source"] for row in copy["abstention"]["per_source"]} == {"source 1", "source 2"}
    assert {row["source"] for row in copy["sources"]["rows"]} == {"source 1", "source 2"}
    assert {row["name"] for row in copy["subgroups"]["rows"]} >= {"source 1", "source 2", "PA", "view 1", "F"}
    assert whole["data"]["splits"]["test"]["patients"] == copy["data"]["splits"]["test"]["patients"]
    assert copy["data"]["datalist_digest"] == whole["data"]["datalist_digest"]
