"""The Kermany collection: official parts, and patients from the names of the files."""

import shutil
from collections import Counter

import pytest
from dataset_helpers import all_on_disk, found, touch


@pytest.mark.real_data
def test_counts_are_those_of_the_publisher(real_data):
    records = all_on_disk("kermany", real_data / "chest_xray")
    assert Counter((record.split, record.class_name) for record in records) == {
        ("training", "normal"): 1341,
        ("training", "pneumonia"): 3875,
        ("test", "normal"): 234,
        ("test", "pneumonia"): 390,
    }


@pytest.mark.real_data
def test_kermany_official_parts_share_no_patient_and_follow_ups_stay_together(real_data):
    records, _ = found("kermany", real_data / "chest_xray")
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


def test_all_images_of_kermany_are_of_children(real_data):
    records, _ = found("kermany", real_data / "chest_xray")
    assert {record.age_group for record in records} == {"child"}
