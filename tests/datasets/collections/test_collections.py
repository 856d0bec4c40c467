"""Public collections as they are on disk, and small copies of the layouts that are not at hand."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from covid_monai.datasets.collections import SOURCES
from covid_monai.datasets.collections.base import (
    Excluded,
    Record,
    read_table,
    to_age,
    to_class_name,
    to_sex,
    to_view,
)
from covid_monai.datasets.collections.ieee8023 import class_of_finding

COLLECTIONS = {
    "kermany": "chest_xray",
    "ieee8023": "covid-chestxray-dataset",
    "covid19-image-dataset": "covid19-image-dataset",
    "darkcovidnet": "darkcovidnet",
    "covid-cxnet": "covid-cxnet",
}
COUNTS = {  # as the collections' publishers state them
    "kermany": {
        ("training", "normal"): 1341,
        ("training", "pneumonia"): 3875,
        ("test", "normal"): 234,
        ("test", "pneumonia"): 390,
    },
    "covid19-image-dataset": {
        ("training", "covid"): 111,
        ("training", "normal"): 70,
        ("training", "pneumonia"): 70,
        ("test", "covid"): 26,
        ("test", "normal"): 20,
        ("test", "pneumonia"): 20,
    },
    "darkcovidnet": {(None, "normal"): 500, (None, "pneumonia"): 500, (None, "covid"): 124},
    "covid-cxnet": {(None, "covid"): 811},
}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(name: str, root: Path) -> tuple[list[Record], list[Excluded]]:
    everything = list(SOURCES[name].records(root))
    return (
        [item for item in everything if isinstance(item, Record)],
        [item for item in everything if isinstance(item, Excluded)],
    )


@pytest.mark.real_data
@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_real_collections(real_data, name):
    records, excluded = found(name, real_data / COLLECTIONS[name])
    assert Counter((record.split, record.class_name) for record in records) == COUNTS[name]
    assert not excluded
    assert all(record.image.is_file() and record.source == name for record in records)


@pytest.mark.real_data
def test_ieee8023_labels_every_row_or_says_why_not(real_data):
    root = real_data / COLLECTIONS["ieee8023"]
    with (root / "metadata.csv").open(newline="", encoding="utf-8") as stream:
        findings = Counter(row["finding"] for row in csv.DictReader(stream))
    records, excluded = found("ieee8023", root)
    classes = Counter(record.class_name for record in records)
    assert classes["covid"] == findings["COVID-19"] + findings["COVID-19, ARDS"] == 423
    assert classes["normal"] == findings["No Finding"] == 13
    assert classes["pneumonia"] == 80
    assert len(excluded) == findings["todo"] + findings["Unknown"] + findings["ARDS"] == 89
    assert {record.view for record in records} == {"PA", "AP", "AP SUPINE"}
    assert all(record.patient and record.image.is_file() for record in records)


@pytest.mark.real_data
def test_kermany_official_parts_share_no_patient_and_follow_ups_stay_together(real_data):
    records, _ = found("kermany", real_data / COLLECTIONS["kermany"])
    parts = {split: {r.patient for r in records if r.split == split} for split in ("training", "test")}
    assert not parts["training"] & parts["test"]
    patient = {record.image.name: record.patient for record in records}
    follow_ups = {patient[f"IM-0011-0001{end}.jpeg"] for end in ("", "-0001", "-0002")}
    assert follow_ups == {"test-IM-11"}
    assert patient["person255_bacteria_1160.jpeg"] == patient["person255_virus_531.jpeg"]


@pytest.mark.real_data
def test_kermany_numbers_with_their_cause_are_in_one_official_part(real_data):
    """What lets the test part be numbered apart: the publishers split by number and cause."""
    cases = {
        part: {
            tuple(path.stem.split("_")[:2])
            for path in (real_data / "chest_xray" / part / "PNEUMONIA").iterdir()
        }
        for part in ("train", "test")
    }
    assert len(cases["train"]) > 2000
    assert len(cases["test"]) > 200
    assert not cases["train"] & cases["test"]


@pytest.mark.real_data
def test_darkcovidnet_keeps_together_what_ieee8023_calls_one_patient(real_data):
    patient_of = {
        record.image.stem.lower(): record.patient
        for record in found("ieee8023", real_data / COLLECTIONS["ieee8023"])[0]
    }
    groups: dict[str, set] = {}
    records, _ = found("darkcovidnet", real_data / COLLECTIONS["darkcovidnet"])
    for record in records:
        if record.class_name == "covid" and record.image.stem.lower() in patient_of:
            groups.setdefault(patient_of[record.image.stem.lower()], set()).add(record.patient)
    assert len(groups) > 50
    assert all(len(patients) == 1 for patients in groups.values())
    nih = {record.patient for record in records if record.class_name != "covid"}
    rows = read_table(real_data / "darkcovidnet" / "nih_metadata.csv", columns=("Patient ID",))
    assert nih == {row["Patient ID"] for row in rows}
    assert sum(record.age is not None and record.sex is not None for record in records) == 1000


@pytest.mark.real_data
def test_covid_cxnet_takes_patients_from_its_table_and_blocks_elsewhere(real_data):
    records, _ = found("covid-cxnet", real_data / COLLECTIONS["covid-cxnet"])
    of_name = {record.image.name: record for record in records}
    assert of_name["261.jpg"].patient == "11"
    assert (of_name["261.jpg"].sex, of_name["261.jpg"].age) == ("M", 47)
    assert of_name["041.jpg"].patient == of_name["042.jpg"].patient == "block4"
    assert 350 < sum(record.sex is not None for record in records) < 450


@pytest.mark.real_data
def test_covid19_image_dataset_names_patients_across_its_parts(real_data):
    records, _ = found("covid19-image-dataset", real_data / COLLECTIONS["covid19-image-dataset"])
    parts = {
        split: {r.patient for r in records if r.split == split} - {None} for split in ("training", "test")
    }
    assert parts["training"] & parts["test"] == {f"COVID-{n:05}" for n in (3, 12, 22, 33, 37)}


@pytest.mark.parametrize("name", SOURCES)
def test_wrong_root_names_what_was_expected_and_what_is_there(tmp_path, name):
    touch(tmp_path, "holiday.mp4")
    with pytest.raises(FileNotFoundError, match=r"expected .*; found .*holiday\.mp4") as caught:
        list(SOURCES[name].records(tmp_path))
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist\. Name"):
        list(SOURCES[name].records(tmp_path / "nowhere"))


def test_radiography_reads_images_and_never_masks(tmp_path):
    root = tmp_path / "COVID-19_Radiography_Dataset"
    for folder in ("COVID", "Normal", "Viral Pneumonia", "Lung_Opacity"):
        touch(
            root,
            f"{folder}/images/{folder}-1.png",
            f"{folder}/masks/{folder}-1.png",
            f"{folder}.metadata.xlsx",
        )
    records, excluded = found("radiography", tmp_path)
    assert not excluded
    assert {(record.image.name, record.class_name) for record in records} == {
        ("COVID-1.png", "covid"),
        ("Normal-1.png", "normal"),
        ("Viral Pneumonia-1.png", "pneumonia"),
        ("Lung_Opacity-1.png", "pneumonia"),
    }
    assert {record.image.parent.name for record in records} == {"images"}


def test_coronahack_reads_its_table_with_its_spelling(tmp_path):
    (tmp_path / "Chest_xray_Corona_Metadata.csv").write_text(
        ",X_ray_image_name,Label,Dataset_type,Label_2_Virus_category,Label_1_Virus_category\n"
        "0,IM-0128-0001.jpeg,Normal,TRAIN,,\n"
        "1,person1_bacteria_1.jpeg,Pnemonia,TRAIN,,bacteria\n"
        "2,1-s2.0-S0140673620303706-fx1_lrg.jpg,Pnemonia,TRAIN,COVID-19,Virus\n"
        "3,ARDSSevere.png,Pnemonia,TRAIN,ARDS,Stress-Smoking\n"
        "4,SARS-10.1148rg.242035193-g04mr34g0-Fig8a.jpeg,Pnemonia,TRAIN,SARS,Virus\n"
        "5,person1_virus_6.jpeg,Pnemonia,TEST,,Virus\n"
    )
    images = tmp_path / "Coronahack-Chest-XRay-Dataset" / "Coronahack-Chest-XRay-Dataset"
    touch(images, "train/IM-0128-0001.jpeg", "test/person1_virus_6.jpeg")
    records, excluded = found("coronahack", tmp_path)
    assert [(r.class_name, r.split, r.patient) for r in records] == [
        ("normal", "training", "IM-128"),
        ("pneumonia", "training", "person1"),
        ("covid", "training", None),
        ("pneumonia", "training", None),
        ("pneumonia", "test", "test-person1"),
    ]
    assert records[-1].image == images / "test" / "person1_virus_6.jpeg"
    assert [(e.image.name, e.reason) for e in excluded] == [
        ("ARDSSevere.png", "label Pnemonia Stress-Smoking ARDS in TRAIN has no class")
    ]


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
        "\ufeffimage,label,patient,split,view,sex,age\n"
        "a/1.dcm,COVID,P1,test,ap supine,female,045Y\n"
        "a/2.dcm,,P2,,,,\n"
        f"{tmp_path}/b/3.dcm,effusion,,,,,\n",
        encoding="utf-8",
    )
    records, excluded = found("csv", table)
    assert records[0] == Record(tmp_path / "a/1.dcm", "covid", "csv", "P1", "test", "AP SUPINE", "F", 45.0)
    assert records[1] == Record(tmp_path / "b/3.dcm", "effusion", "csv")
    assert excluded == [Excluded(tmp_path / "a/2.dcm", "no label")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,label\na.png,covid\n", "expected the column image; found file, label"),
        (b"image,label,split\na.png,covid,holdout\n", "unknown split 'holdout'"),
        (b"image,label\n\xff\xfe,covid\n", "not a CSV file in UTF-8"),
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
    dicom(tmp_path / "x/one", **one, PatientAge="033Y", ViewPosition="PA")
    dicom(tmp_path / "x/two.dcm", SOPInstanceUID="1.2.3.2", AccessionNumber="A2")
    (tmp_path / "x/notes.dcm").write_text("no DICOM")
    value = {**one, "path": "x/one"}[key]
    (tmp_path / "labels.csv").write_text(f"{key},label,age\n{value},Normal,\nmissing,covid,\n")
    records, excluded = found("dicom-folder", tmp_path)
    assert records == [
        Record(tmp_path / "x/one", "normal", "dicom-folder", "P1", view="PA", sex="F", age=33.0)
    ]
    reasons = {item.image.name: item.reason for item in excluded}
    assert reasons["notes.dcm"] == "This is not a DICOM file."
    assert reasons["two.dcm"].startswith(f"no label for {key}")
    assert reasons["labels.csv"] == f"labels.csv: no file with {key} missing"


def test_dicom_folder_refuses_two_labels_for_one_key(tmp_path):
    (tmp_path / "labels.csv").write_text("AccessionNumber,label\nA1,covid\nA1,normal\n")
    with pytest.raises(ValueError, match="AccessionNumber A1 has two labels, covid and normal"):
        found("dicom-folder", tmp_path)


def test_dicom_folder_needs_exactly_one_key(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\na.dcm,covid\n")
    with pytest.raises(ValueError, match="expected one column of SOPInstanceUID, AccessionNumber, path"):
        found("dicom-folder", tmp_path)


@pytest.mark.parametrize(
    ("finding", "class_name"),
    [
        ("COVID-19, ARDS", "covid"),
        ("Pneumonia/Viral/COVID-19", "covid"),
        ("Pneumonia/Viral/Herpes ", "pneumonia"),
        ("Mycoplasma Bacterial Pneumonia", "pneumonia"),
        ("Pneumonia/Bacterial/Staphylococcus/MRSA", "pneumonia"),
        ("No Finding", "normal"),
        ("Tuberculosis", None),
        ("ARDS", None),
        ("Unknown", None),
        ("", None),
    ],
)
def test_findings_of_old_and_new_releases(finding, class_name):
    assert class_of_finding(finding) == class_name


@given(st.text(max_size=20))
def test_words_of_any_table_are_read_or_left_unknown(text):
    assert to_sex(text) in ("M", "F", None)
    age = to_age(text)
    assert age is None or 0 <= age <= 120
    assert to_view(text) == to_view(to_view(text) or "")
    assert to_class_name(to_class_name(text)) == to_class_name(text)


@given(st.integers(0, 120), st.sampled_from("YMWD"))
def test_dicom_ages_in_years(count, unit):
    days = {"Y": 365.25, "M": 365.25 / 12, "W": 7, "D": 1}[unit]
    assert to_age(f"{count:03}{unit}") == pytest.approx(count * days / 365.25, abs=0.006)


def test_nested_archive_folder_is_found(tmp_path):
    touch(
        tmp_path,
        *(
            f"chest_xray/{part}/{name}/IM-0001-0001.jpeg"
            for part in ("train", "test")
            for name in ("NORMAL", "PNEUMONIA")
        ),
    )
    shutil.copytree(tmp_path / "chest_xray" / "train", tmp_path / "chest_xray" / "val")
    records, _ = found("kermany", tmp_path)
    assert Counter(record.split for record in records) == {"training": 4, "test": 2}
