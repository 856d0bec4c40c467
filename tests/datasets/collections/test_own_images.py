"""A person's own images: folders of classes, tables, and DICOM files with a table of labels."""

from pathlib import Path

import pydicom
import pytest
from dataset_helpers import found, touch
from pydicom.data import get_testdata_file

from covid_monai.datasets.collections.base import Excluded, Record


def test_folder_takes_classes_and_official_parts_from_folder_names(tmp_path):
    touch(
        tmp_path,
        "train/NORMAL/a.png",
        "val/Covid-19/deep/b.dcm",
        "test/Lung Cyst/x.txt",
        "test/Lung Cyst/1.2.840.99",
    )
    (tmp_path / "test/Lung Cyst/1.2.840.99").write_bytes(b"\0" * 128 + b"DICM")
    records, _ = found("folder", tmp_path)
    assert {(r.image.name, r.class_name, r.split) for r in records} == {
        ("a.png", "normal", "training"),
        ("b.dcm", "covid", "validation"),
        ("1.2.840.99", "lung_cyst", "test"),
    }


def test_folder_without_parts_has_no_split(tmp_path):
    touch(tmp_path, "Viral Pneumonia/a.jpg", "healthy/b.jpg", "readme.md")
    records, _ = found("folder", tmp_path)
    assert {(r.class_name, r.split, r.patient) for r in records} == {
        ("pneumonia", None, None),
        ("normal", None, None),
    }


def test_csv_reads_known_columns_and_reports_lines_without_label(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text(
        "\ufeffimage,label,patient,split,view,sex,age,location,hospital\n"
        "a/1.dcm,COVID,P1,test,ap supine,female,045Y,Rome, St  Mary \n"
        "a/2.dcm,,P2,,,,,,\n"
        f"{tmp_path}/b/3.dcm,effusion,,,,,,Klinikum Bonn,unknown\n",
        encoding="utf-8",
    )
    records, excluded = found("csv", table)
    facts = ("P1", "test", "AP SUPINE", "F", 45.0, "Rome", "St Mary")
    assert records[0] == Record(tmp_path / "a/1.dcm", "covid", "csv", *facts)
    named = {"location": "Klinikum Bonn", "hospital": "Klinikum Bonn"}
    assert records[1] == Record(tmp_path / "b/3.dcm", "effusion", "csv", **named)
    assert excluded == [Excluded(tmp_path / "a/2.dcm", "no label")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,label\na.png,covid\n", "expected the column image; found file, label"),
        (b"image,label,split\na.png,covid,holdout\n", "unknown split 'holdout'"),
        (b"image,label\na.png,covid\n\xff\xfe,covid\n", r"labels\.csv, line 3: the text is not UTF-8"),
    ],
)
def test_csv_names_what_is_wrong(tmp_path, content, message):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        found("csv", tmp_path)


def dicom(path: Path, **elements: str) -> pydicom.Dataset:
    """Write pydicom's own CR test image with other identifiers."""
    ds = pydicom.dcmread(
        get_testdata_file("RG1_UNCR.dcm", download=False) or get_testdata_file("CT_small.dcm")
    )
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path)
    return ds


@pytest.mark.parametrize("key", ["SOPInstanceUID", "AccessionNumber", "path"])
def test_dicom_folder_matches_labels_by_key_and_headers_fill_in(tmp_path, key):
    one = {"SOPInstanceUID": "1.2.3.1", "AccessionNumber": "A1", "PatientID": "P1", "PatientSex": "F"}
    dicom(tmp_path / "x/one", **one, PatientAge="033Y", ViewPosition="PA", InstitutionName="St Mary")
    dicom(tmp_path / "x/two.dcm", SOPInstanceUID="1.2.3.2", AccessionNumber="A2")
    (tmp_path / "x/notes.dcm").write_text("no DICOM")
    value = {**one, "path": "x/one"}[key]
    (tmp_path / "labels.csv").write_text(f"{key},label,age\n{value},Normal,\nmissing,covid,\n")
    records, excluded = found("dicom-folder", tmp_path)
    assert records == [
        Record(
            *(tmp_path / "x/one", "normal", "dicom-folder", "P1"),
            **{"view": "PA", "sex": "F", "age": 33.0, "hospital": "St Mary"},
        )
    ]
    reasons = {item.image.name: item.reason for item in excluded}
    assert reasons["notes.dcm"] == "This is not a DICOM file. Convert it, or unpack it if it is an archive."
    assert reasons["two.dcm"].startswith(f"no label for {key}")
    assert reasons["labels.csv"] == f"labels.csv: no file with {key} missing"


def test_dicom_folder_yields_a_file_once_for_each_of_its_lines(tmp_path):
    dicom(tmp_path / "one.dcm", AccessionNumber="A1", PatientID="0")
    table = tmp_path / "labels.csv"
    table.write_text("AccessionNumber,label\nA1,covid\nA1, Normal\nA1,COVID-19\n")
    records, excluded = found("dicom-folder", tmp_path)
    assert [(r.image.name, r.class_name, r.patient) for r in records] == [
        ("one.dcm", "covid", "0"),
        ("one.dcm", "normal", "0"),
        ("one.dcm", "covid", "0"),
    ]
    assert not excluded


@pytest.mark.parametrize("path", ["x/one.dcm", "./x/one.dcm", ".\\x\\one.dcm", "x//one.dcm"])
def test_dicom_folder_finds_a_path_however_it_is_spelled(tmp_path, path):
    dicom(tmp_path / "x/one.dcm")
    (tmp_path / "labels.csv").write_text(f"path,label\n{path},covid\n")
    records, excluded = found("dicom-folder", tmp_path)
    assert [record.image.name for record in records] == ["one.dcm"]
    assert not excluded


def test_dicom_folder_needs_exactly_one_key(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\na.dcm,covid\n")
    with pytest.raises(ValueError, match="expected one column of SOPInstanceUID, AccessionNumber, path"):
        found("dicom-folder", tmp_path)


@pytest.mark.parametrize(
    "spelled",
    [
        "a b/1.png",
        "./a b/1.png",
        "a b//1.png",
        "x/../a b/1.png",
        "a b\\1.png",
        ".\\a b\\1.png",
        "a%20b/1.png",
        "{}/a b/1.png",
    ],
)
def test_csv_finds_a_file_however_its_path_is_spelled(tmp_path, spelled):
    touch(tmp_path, "a b/1.png", "x/2.png")
    for text in (spelled, f"file://{spelled}") if spelled.startswith("{}") else (spelled,):
        (tmp_path / "labels.csv").write_text(f"image,label\n{text.format(tmp_path)},covid\n")
        (record,), _ = found("csv", tmp_path)
        assert record.image.samefile(tmp_path / "a b/1.png")


def test_csv_keeps_a_path_that_leads_nowhere_and_one_that_is_too_long(tmp_path):
    (tmp_path / "labels.csv").write_text(f"image,label\nA.PNG,covid\n{'x' * 5000},covid\n")
    records, _ = found("csv", tmp_path)
    assert [record.image for record in records] == [tmp_path / "A.PNG", tmp_path / ("x" * 5000)]


@pytest.mark.parametrize(
    ("label", "class_name"),
    [
        ("covid", "covid"),
        (" COVID-19 ", "covid"),
        ("Normal\t", "normal"),
        ("0", "0"),
        ("1", "1"),
        ("false", "false"),
    ],
)
def test_csv_reads_a_label_as_name_or_number(tmp_path, label, class_name):
    (tmp_path / "labels.csv").write_text(f"image,label\na.png,{label}\n")
    (record,), _ = found("csv", tmp_path)
    assert record.class_name == class_name


@pytest.mark.parametrize("label", ["", " ", "?", "nan", "NA", "NULL", "None", "-", "---", "_"])
def test_csv_names_a_line_without_a_label(tmp_path, label):
    (tmp_path / "labels.csv").write_text(f"image,label\na.png,{label}\n,covid\n")
    records, excluded = found("csv", tmp_path)
    assert not records
    assert [each.reason for each in excluded] == ["no label", "a line without an image"]


def test_csv_with_a_column_for_each_class_says_what_it_needs(tmp_path):
    (tmp_path / "labels.csv").write_text("image,normal,covid\na.png,1,0\n")
    with pytest.raises(ValueError, match="expected the column label; found image, normal, covid"):
        found("csv", tmp_path)


@pytest.mark.parametrize(
    ("patient", "expected"),
    [
        ("0", "0"),
        ("00", "00"),
        ("False", "False"),
        (" P 1 ", "P 1"),
        ("", None),
        (" ", None),
        ("nan", None),
        ("None", None),
        ("NA", None),
        ("null", None),
        ("<NA>", None),
        ("unknown", None),
        ("ANONYMOUS", None),
        ("Anonymized", None),
    ],
)
def test_a_patient_is_an_identifier_and_no_word_for_its_absence(tmp_path, patient, expected):
    (tmp_path / "labels.csv").write_text(f"image,label,patient\na.png,covid,{patient}\n")
    (record,), _ = found("csv", tmp_path)
    assert record.patient == expected
    dicom(tmp_path / "dicom/a.dcm", SOPInstanceUID="1.2.3", PatientID=patient)
    (tmp_path / "dicom/labels.csv").write_text("SOPInstanceUID,label\n1.2.3,covid\n")
    (record,), _ = found("dicom-folder", tmp_path / "dicom")
    assert record.patient == expected
