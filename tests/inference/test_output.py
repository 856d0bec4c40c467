"""Predictions as JSON Lines or CSV, each on disk as soon as it is known."""

import csv
import io
import json
import os
from dataclasses import replace

import pytest

from covid_monai.core.vocabulary import RESEARCH_USE, Status
from covid_monai.inference.output import check_output, csv_writer, open_output, partial_path
from covid_monai.inference.prediction import Prediction

NAMES = ("normal", "covid")
MODEL = {
    **{"name": "m", "version": "1", "weights_sha256": "ab", "preprocessing_digest": "cd"},
    "backend": "torch",
}
OK = Prediction(
    file="a,b.png",
    status=Status.OK,
    model=MODEL,
    predicted_class="covid",
    probabilities={"normal": 0.25, "covid": 0.75},
    prediction_set=["normal", "covid"],
    decision={
        **{"class": "uncertain", "reason": 'both "possible"', "at_operating_point": "covid", "rule": "r"},
        "thresholds": {"normal": 0.4, "covid": 0.6},
    },
    abnormal={"probability": 0.75, "threshold": 0.6, "call": True, "interval": None},
    cause={"name": "not told", "reason": "why", "log_odds": 1.1, "cut": None},
    source_shift={"nearest": None, "like_training": False, "note": "n"},
    quality={"found": True, "areas": [0.1, 0.2], "center": [0.5, 0.4], "symmetry": 0.5, "cut_off": ["top"]},
)
REFUSED = Prediction(
    file="b.png", status=Status.REFUSED, model=MODEL, reason="blank", detail="b.png: line one\nline two"
)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.CSV", "folder/a.JSONL", "-"])
def test_outputs_that_can_be_written(name, tmp_path):
    check_output(name if name == "-" else tmp_path / name)


@pytest.mark.parametrize("name", ["a.json", "a", "a.csv.gz", "a.xlsx", ""])
def test_other_names_are_refused_with_those_that_can(name):
    with pytest.raises(ValueError, match=r"\.jsonl or \.csv files\. Name a file"):
        check_output(name)


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        check_output(tmp_path / "a.csv")


def test_a_row_has_the_values_of_the_record():
    file = io.StringIO(newline="")
    write = csv_writer(file, NAMES)
    for prediction in (OK, REFUSED):
        write(prediction)
    ok, refused = rows_of(file.getvalue())
    assert (ok["file"], ok["status"], ok["predicted_class"], ok["decision"]) == (
        *("a,b.png", "ok", "covid"),
        "uncertain",
    )
    assert (ok["p_normal"], ok["p_covid"]) == ("0.25", "0.75")
    assert (ok["threshold_normal"], ok["threshold_covid"]) == ("0.4", "0.6")
    assert (ok["decision_reason"], ok["at_operating_point"]) == ('both "possible"', "covid")
    assert ok["prediction_set"] == "normal|covid"
    columns = ("abnormal", "abnormal_probability", "abnormal_threshold")
    assert tuple(ok[name] for name in columns) == ("true", "0.75", "0.6")
    columns = ("cause", "cause_reason", "cause_log_odds", "cause_cut")
    assert tuple(ok[name] for name in columns) == ("not told", "why", "1.1", "")
    assert (ok["nearest_source"], ok["like_training"]) == ("", "false")
    columns = ("lungs_found", "lung_area_left", "lung_area_right", "lungs_center_x", "lungs_center_y")
    assert tuple(ok[name] for name in columns) == ("true", "0.1", "0.2", "0.5", "0.4")
    assert (ok["lung_symmetry"], ok["lungs_cut_off"]) == ("0.5", "top")
    assert (ok["model"], ok["version"], ok["backend"], ok["notice"]) == ("m", "1", "torch", RESEARCH_USE)
    assert (refused["reason"], refused["detail"]) == ("blank", "b.png: line one\nline two")
    empty = (
        "predicted_class",
        "decision",
        "p_normal",
        "threshold_covid",
        "prediction_set",
        "abnormal",
        "cause",
        "nearest_source",
        "like_training",
        "lungs_found",
        "lung_area_left",
        "lungs_cut_off",
    )
    assert not any(refused[name] for name in empty)


def test_a_formula_in_any_text_of_a_record_is_text_to_a_spreadsheet():
    attack = "=cmd|' /C calc'!A0"
    model, decision = dict.fromkeys(MODEL, attack), {**OK.decision, "class": attack, "reason": f"a;{attack}"}
    file = io.StringIO(newline="")
    texts = dict.fromkeys(("file", "predicted_class", "reason", "detail"), attack)
    probabilities = {attack: 0.5, "covid": 0.5}
    shift = {"nearest": attack, "like_training": True, "note": attack}
    record = replace(
        OK,
        source_shift=shift,
        prediction_set=[attack],
        model=model,
        decision=decision,
        probabilities=probabilities,
    )
    csv_writer(file, (attack, "covid"))(replace(record, **texts))
    rows = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert not [cell for row in rows for cell in row if cell.startswith("=") or ";=" in cell]


@pytest.mark.parametrize(("possible", "cell"), [(None, ""), ([], "none"), (["covid"], "covid")])
def test_an_empty_set_and_no_set_are_told_apart(possible, cell):
    file = io.StringIO()
    csv_writer(file, NAMES)(
        Prediction(file="a", status=Status.OK, model=MODEL, probabilities={}, prediction_set=possible)
    )
    assert rows_of(file.getvalue())[0]["prediction_set"] == cell


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_each_line_is_on_disk_at_once_and_the_name_comes_last(tmp_path, suffix):
    output = tmp_path / "new" / f"out.{suffix}"
    with open_output(output, class_names=NAMES) as write:
        for number, prediction in enumerate((OK, REFUSED), 1):
            write(prediction)
            text = partial_path(output).read_text()
            assert len(rows_of(text) if suffix == "csv" else text.splitlines()) == number
        assert not output.exists()
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    if suffix == "jsonl":
        lines = [json.loads(line) for line in output.read_text().splitlines()]
        assert lines == [json.loads(json.dumps(each.to_json())) for each in (OK, REFUSED)]


def test_an_interruption_leaves_the_finished_lines_and_the_old_file(tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("old\n")

    def interrupted():
        with open_output(output, class_names=NAMES) as write:
            write(OK)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert output.read_text() == "old\n"
    assert json.loads(partial_path(output).read_text())["file"] == "a,b.png"


def test_a_name_that_is_no_text_still_gives_valid_utf_8(tmp_path):
    odd = Prediction(file=os.fsdecode(b"f\xff.png"), status=Status.ERROR, model=MODEL)
    for suffix in ("csv", "jsonl"):
        with open_output(tmp_path / f"out.{suffix}", class_names=NAMES) as write:
            write(odd)
        assert "udcff" in (tmp_path / f"out.{suffix}").read_bytes().decode("utf-8")


def test_numbers_that_json_has_no_words_for_are_an_error(tmp_path):
    bad = Prediction(file="a", status=Status.OK, model=MODEL, probabilities={"normal": float("nan")})
    with (
        pytest.raises(ValueError, match="JSON"),
        open_output(tmp_path / "out.jsonl", class_names=NAMES) as write,
    ):
        write(bad)


def test_a_dash_writes_json_lines_to_the_standard_output(capsys):
    with open_output("-", class_names=NAMES) as write:
        write(REFUSED)
    assert json.loads(capsys.readouterr().out)["reason"] == "blank"
