"""predictions.csv: what is written reads back to the last bit; what is malformed is named."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions

HEADER = "image,split,patient,source,view,sex,age,label,p_normal,p_covid\n"
ROW = "a.png,test,p1,s,PA,M,61,1,0.25,0.75\n"
# Surrogates other than those of undecodable file names are no text that a CSV could hold.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1)


def a_row(**values):
    row = {"image": "a.png", "split": "test", "patient": "p1", "label": 0, "probabilities": [0.5, 0.5]}
    return {**row, **values}


@settings(deadline=None, max_examples=50)
@given(TEXT, TEXT, TEXT, st.floats(0, 1), st.one_of(st.none(), st.floats(0, 120)))
def test_what_is_written_reads_back_exactly(tmp_path_factory, image, patient, source, probability, age):
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    probabilities = [1 - probability, probability]
    row = a_row(image=image, patient=patient, source=source, age=age, probabilities=probabilities)
    write_predictions(path, [row], ["a, b", 'say "c"'])
    read = read_predictions(path)
    assert read.class_names == ("a, b", 'say "c"')
    assert (read.images[0], read.patients[0], read.sources[0]) == (image, patient, source)
    assert read.probabilities[0].tolist() == probabilities
    assert (math.isnan(read.ages[0]) and age is None) or read.ages[0] == age


@pytest.mark.parametrize("attack", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\uff1d1", "a;=1", "'=1"])
def test_a_formula_in_a_name_is_text_to_a_spreadsheet_and_reads_back(tmp_path, attack):
    row = a_row(image=attack, patient=attack, source=attack, view=attack, sex=attack)
    write_predictions(tmp_path / "p.csv", [row], ["normal", attack])
    cells = [c for line in csv.reader((tmp_path / "p.csv").open(newline=""), delimiter=";") for c in line]
    assert not [cell for cell in cells if cell[0] in "=+-@\t\uff1d"]
    read = read_predictions(tmp_path / "p.csv")
    assert {read.images[0], read.patients[0], read.sources[0], read.class_names[1]} == {attack}


def test_header_and_empty_cells_are_as_agreed(tmp_path):
    write_predictions(tmp_path / "new" / "p.csv", [a_row(view=None, age=math.nan)], ["normal", "covid"])
    with (tmp_path / "new" / "p.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == HEADER.strip().split(",")
    assert rows[1] == ["a.png", "test", "p1", "", "", "", "", "0", "0.5", "0.5"]


@pytest.mark.parametrize("patient", [0, "0", 0.0, False])
def test_a_patient_that_counts_as_false_is_a_patient(tmp_path, patient):
    write_predictions(tmp_path / "p.csv", [a_row(patient=patient)], ["normal", "covid"])
    assert read_predictions(tmp_path / "p.csv").patients.tolist() == [str(patient)]


@pytest.mark.parametrize("patient", [None, "", math.nan])
def test_a_row_without_a_patient_is_an_error(tmp_path, patient):
    with pytest.raises(ValueError, match=r"a\.png.* has no patient"):
        write_predictions(tmp_path / "p.csv", [a_row(patient=patient)], ["normal", "covid"])


def test_single_precision_survives(tmp_path):
    probabilities = np.array([1e-12, 1 - 1e-12], dtype=np.float32)
    write_predictions(tmp_path / "p.csv", [a_row(probabilities=probabilities)], ["normal", "covid"])
    assert read_predictions(tmp_path / "p.csv").probabilities.astype(np.float32).tolist() == [
        probabilities.tolist()
    ]


def test_undecodable_file_name_round_trips(tmp_path):
    name = b"r\xf6ntgen.png".decode("utf-8", "surrogateescape")
    write_predictions(tmp_path / "p.csv", [a_row(image=name)], ["normal", "covid"])
    assert read_predictions(tmp_path / "p.csv").images[0] == name


def test_split_keeps_rows_together(tmp_path):
    rows = [
        a_row(image=f"{i}", split=["test", "validation"][i % 2], patient=f"p{i}", age=i) for i in range(7)
    ]
    write_predictions(tmp_path / "p.csv", rows, ["normal", "covid"])
    test = read_predictions(tmp_path / "p.csv").split("test")
    assert len(test) == 4
    assert test.patients.tolist() == ["p0", "p2", "p4", "p6"]
    assert test.ages.tolist() == [0, 2, 4, 6]
    assert len(test.split("validation")) == 0


def test_file_saved_again_by_a_spreadsheet_is_read(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"\xef\xbb\xbf" + (HEADER + ROW).replace("\n", "\r\n").encode())
    assert read_predictions(tmp_path / "p.csv").labels.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "header must begin"),
        (HEADER, "no predictions"),
        ("image,label\n", "header must begin"),
        (HEADER.replace(",p_covid", ""), "at least two different columns"),
        (HEADER.replace("p_covid", "p_normal"), "at least two different columns"),
        (HEADER.replace("p_covid", "covid"), "at least two different columns"),
        (HEADER + "a.png,test,p1,s\n", "line 2: expected 10 values, found 4"),
        (HEADER + ROW + ROW.replace("p1", ""), "line 3: patient must not be empty"),
        (HEADER + ROW.replace(",1,", ",2,"), "label '2' is not a class index from 0 to 1"),
        (HEADER + ROW.replace(",1,", ",-1,"), "label '-1'"),
        (HEADER + ROW.replace(",1,", ",covid,"), "label 'covid'"),
        (HEADER + ROW.replace("0.75", "nan"), "must lie in"),
        (HEADER + ROW.replace("0.75", "0.5"), "sum to 1"),
        (HEADER + ROW.replace("0.25,0.75", "-0.5,1.5"), "must lie in"),
        (HEADER + ROW.replace("0.75", "high"), "probability 'high' is not a number"),
        (HEADER + ROW.replace("61", "sixty"), "age 'sixty' is not a number"),
        (HEADER + '"a.png', "quotes or line ends are damaged"),
    ],
)
def test_malformed_file_is_named_with_its_fault(tmp_path, text, complaint):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


def test_missing_file_names_the_way_out(tmp_path):
    with pytest.raises(FileNotFoundError, match="covid-monai evaluate"):
        read_predictions(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"patient": None}, "no patient"),
        ({"label": None}, "no label"),
        ({"probabilities": [1.0]}, "1 probabilities for 2"),
    ],
)
def test_bad_row_leaves_the_earlier_file(tmp_path, values, complaint):
    path = tmp_path / "p.csv"
    write_predictions(path, [a_row()], ["normal", "covid"])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=complaint):
        write_predictions(path, [a_row(**values)], ["normal", "covid"])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
