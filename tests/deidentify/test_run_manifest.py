"""Records of a run: an interrupted run is completed, and no folder mixes two runs; the crosswalk."""

import csv
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pydicom
import pytest
from deidentify_helpers import command, copies, key_file, tree

from covid_monai.deidentify.run_manifest import (
    MANIFEST,
    CopyRecord,
    InputFile,
    Reason,
    Refused,
    RunManifest,
    write_crosswalk,
)

pytestmark = pytest.mark.filterwarnings("ignore")


def _iso(value):
    return f"{value[:4]}-{value[4:6]}-{value[6:]}"


def test_a_second_run_does_what_is_missing_and_gives_the_same_bytes(tmp_path, export):
    out = tmp_path / "out"
    command("--key-file", key_file(tmp_path), export, out)
    before = tree(out)
    gone, *kept = copies(out)
    gone.unlink()
    written = {path: path.stat().st_mtime_ns for path in kept}
    assert command("--key-file", key_file(tmp_path), export, out).exit_code == 0
    assert tree(out) == before
    assert {path: path.stat().st_mtime_ns for path in kept} == written


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--key-file", "2"], "another key"), (["--key-file", "1", "--retain", "device"], "another options")],
)
def test_a_folder_of_another_run_is_refused(tmp_path, export, options, word):
    command("--key-file", key_file(tmp_path), export, tmp_path / "out")
    before = tree(tmp_path / "out")
    options[1] = key_file(tmp_path, digit=options[1])
    with pytest.raises(ValueError, match=word):
        command(*options, export, tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_the_crosswalk_leads_back_and_is_for_its_owner_alone(tmp_path, export):
    table = tmp_path / "crosswalk.csv"
    key = key_file(tmp_path)
    command("--key-file", key, "--crosswalk", table, export, tmp_path / "out")
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 4
    for row in rows:
        if row["new_path"]:
            old, new = pydicom.dcmread(row["old_path"]), pydicom.dcmread(tmp_path / "out" / row["new_path"])
            assert (row["old_instance_uid"], row["new_instance_uid"]) == (
                old.SOPInstanceUID,
                new.SOPInstanceUID,
            )
            assert (row["old_patient_id"], row["new_patient_id"]) == (old.PatientID, new.PatientID)
            shift = np.datetime64(_iso(old.StudyDate)) - np.datetime64(_iso(new.StudyDate))
            assert shift.astype(int) == int(row["shift_days"])
    command("--key-file", key, "--crosswalk", table, export / "HOSP-4711" / "Curie", tmp_path / "out")
    assert len(list(csv.DictReader(table.open()))) == 4


def test_a_formula_in_a_crosswalk_is_text_to_a_spreadsheet_and_its_row_is_found_again(tmp_path):
    table, source = tmp_path / "crosswalk.csv", Path("=HYPERLINK(1).dcm")
    identifiers = {"old_patient_id": "@SUM(1)", "new_patient_id": "P", "shift_days": "-12"}
    for _ in range(2):
        write_crosswalk(table, [InputFile(1, source, identifiers, "P/1.dcm")])
    (row,) = csv.DictReader(table.open())
    assert (row["old_path"], row["old_patient_id"]) == ("'=HYPERLINK(1).dcm", "'@SUM(1)")
    assert row["shift_days"] == "-12"  # a number, with which a spreadsheet may calculate


SETTINGS = {"key_id": "k", "profile": "basic", "options": []}
COPY = CopyRecord("P/S/E/a.dcm", ("derived",), {"private": 1, "removed": 2}, True)


def written(manifest, copy):
    """Record a copy that is there."""
    (manifest.folder / copy.path).parent.mkdir(parents=True, exist_ok=True)
    (manifest.folder / copy.path).write_bytes(b"copy")
    manifest.add(copy)


def test_a_manifest_counts_copies_patients_elements_and_refusals(tmp_path):
    with RunManifest(tmp_path / "out", SETTINGS).locked() as manifest:
        assert json.loads(manifest.path.read_text())["complete"] is False
        written(manifest, COPY)
        counts = {**COPY.counts, "pixels_rewritten": 1}
        written(manifest, replace(COPY, path="P/T/E/b.dcm", review=(), counts=counts, patient_known=False))
        content = manifest.write({3: "not_dicom", 1: "no_image"}, complete=True, inputs=4)
    assert json.loads(manifest.path.read_text()) == json.loads(json.dumps(content))
    assert content["counts"] == {
        **{"copies": 2, "patients": 1, "studies": 2, "copies_without_patient_id": 1},
        **{"copies_to_review": 1, "copies_with_rewritten_pixel_data": 1, "inputs": 4, "refused": 2},
    }
    assert content["elements"] == {"private": 2, "removed": 4, "changed": 0}
    assert [(each["input"], each["reason"]) for each in content["refused"]] == [
        (1, "no_image"),
        (3, "not_dicom"),
    ]
    assert all(each["detail"].endswith(".") for each in content["refused"])
    assert content["review"] == {"P/S/E/a.dcm": ["derived"]}
    assert [path.name for path in manifest.folder.iterdir() if path.is_file()] == [MANIFEST]


def test_a_run_that_was_killed_leaves_its_copies_to_the_next_and_no_half_written_one(tmp_path):
    with RunManifest(tmp_path, SETTINGS).locked() as manifest:
        written(manifest, COPY)
        manifest.add(replace(COPY, path="P/S/E/gone.dcm"))
        manifest._lines.write('{"path": "P/S/E/ha')  # killed while writing this line
        half = tmp_path / "P" / "S" / "E" / ".b.dcm.77.tmp"
        half.write_bytes(b"half")
    with RunManifest(tmp_path, SETTINGS).locked() as manifest:
        assert [(copy.path, tuple(copy.review)) for copy in manifest.copies.values()] == [
            ("P/S/E/a.dcm", ("derived",))
        ]
        assert not half.exists()


def test_two_runs_at_once_are_refused(tmp_path):
    with (
        RunManifest(tmp_path, SETTINGS).locked(),
        pytest.raises(ValueError, match="Another run is writing"),
        RunManifest(tmp_path, SETTINGS).locked(),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no json", "holds no valid"),
        ("[]", "holds no valid"),
        ("{}", "holds no valid"),
        (json.dumps({"settings": SETTINGS | {"key_id": "other"}}), "another key"),
        (json.dumps({"settings": SETTINGS | {"options": ["device"]}}), "another options"),
    ],
)
def test_a_folder_that_is_no_folder_of_this_run_is_refused(tmp_path, content, words):
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(ValueError, match=words), RunManifest(tmp_path, SETTINGS).locked():
        pass
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_a_file_is_no_output_folder(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ValueError, match="is a file"), RunManifest(tmp_path / "out", SETTINGS).locked():
        pass


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_of_a_refusal_has_a_sentence(reason):
    refused = Refused(reason)
    assert refused.reason == reason
    assert str(refused).endswith(".")


def test_a_crosswalk_keeps_names_that_are_no_text_and_replaces_rows(tmp_path):
    table, name = tmp_path / "crosswalk.csv", os.fsdecode(b"f\xfflm")
    write_crosswalk(table, [InputFile(1, Path(name), {"old_patient_id": "Zamenhof"}, "P/a.dcm")])
    write_crosswalk(table, [InputFile(2, Path("other"), refused="no_image"), InputFile(5, Path(name))])
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["old_path"], row["input"], row["refused"]) for row in rows] == [
        (name, "5", ""),
        ("other", "2", "no_image"),
    ]
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
