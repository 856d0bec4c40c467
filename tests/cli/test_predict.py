"""`covid-monai predict`: records, tables, messages and exit codes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.backends import choose_backend
from covid_monai.inference.classifier import Classifier

CLASS_NAMES = ["normal", "pneumonia", "covid"]
RECORD = {
    "type": "object",
    "additionalProperties": False,
    "required": ["file", "status", "reason", "predicted_class", "probabilities", "decision", "model"],
    "properties": {
        "file": {"type": "string"},
        "status": {"enum": ["ok", "refused", "error"]},
        "reason": {"type": ["string", "null"]},
        "detail": {"type": ["string", "null"]},
        "predicted_class": {"enum": [*CLASS_NAMES, None]},
        "probabilities": {
            "type": ["object", "null"],
            "required": CLASS_NAMES,
            "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "prediction_set": {"type": ["array", "null"], "items": {"enum": CLASS_NAMES}},
        "decision": {
            "type": ["object", "null"],
            "required": ["class", "reason", "at_operating_point", "rule", "thresholds"],
            "properties": {
                "class": {"enum": [*CLASS_NAMES, "uncertain"]},
                "reason": {"type": ["string", "null"]},
                "at_operating_point": {"enum": CLASS_NAMES},
            },
        },
        "abnormal": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "required": ["probability", "threshold", "call", "interval"],
            "properties": {
                "probability": {"type": "number", "minimum": 0, "maximum": 1},
                "threshold": {"type": ["number", "null"]},
                "call": {"type": ["boolean", "null"]},
                "interval": {"type": ["object", "null"], "required": ["false_alarms", "sensitivity"]},
            },
        },
        "cause": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "required": ["name", "reason", "log_odds", "cut"],
            "properties": {
                "name": {"enum": ["pneumonia", "covid", "not told"]},
                "reason": {"type": "string"},
                "log_odds": {"type": "number"},
                "cut": {"type": ["number", "null"]},
            },
        },
        "source_shift": {
            "type": ["object", "null"],
            "required": ["nearest", "like_training", "note"],
            "additionalProperties": False,
            "properties": {
                "nearest": {"type": ["string", "null"]},
                "like_training": {"type": "boolean"},
                "note": {"type": "string"},
            },
        },
        "quality": {
            "type": ["object", "null"],
            "required": ["found", "areas", "center", "symmetry", "cut_off", "note"],
        },
        "model": {
            "type": "object",
            "required": ["name", "version", "weights_sha256", "preprocessing_digest"],
            "additionalProperties": {"type": "string"},
        },
        "notice": {"const": RESEARCH_USE},
    },
    "if": {"properties": {"status": {"const": "ok"}}},
    "then": {
        "properties": {
            "reason": {"type": "null"},
            "predicted_class": {"type": "string"},
            "abnormal": {"type": "object"},
            "cause": {"type": "object"},
        }
    },
    "else": {
        "properties": {
            "reason": {"type": "string"},
            "detail": {"type": "string"},
            "predicted_class": {"type": "null"},
            "probabilities": {"type": "null"},
            "prediction_set": {"type": "null"},
            "decision": {"type": "null"},
            "abnormal": {"type": "null"},
            "cause": {"type": "null"},
        }
    },
}


def records_of(path: Path) -> list[dict]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        jsonschema.validate(record, RECORD)
    return records


def test_predict_writes_json_lines(run, bundle, images, tmp_path):
    output = tmp_path / "new" / "out.jsonl"
    code, out, err = run("predict", "--bundle", bundle.root, "--output", output, images)
    assert (code, out) == (1, "")
    assert "3 files: 2 ok, 1 error: unreadable" in err
    assert RESEARCH_USE in err
    records = records_of(output)
    assert [Path(record["file"]).name for record in records] == ["a.png", "b.jpg", "c.png"]
    assert [record["status"] for record in records] == ["ok", "error", "ok"]
    computed = {"backend": choose_backend(None, torch.device("cpu"))}
    assert records[0]["model"] == bundle.identity | computed
    assert records[0]["decision"]["thresholds"] == {"normal": 0.6, "pneumonia": 0.2, "covid": 0.3}
    assert list(output.parent.iterdir()) == [output]


def test_what_went_wrong_is_told_beside_a_file_of_results(run, bundle, images, tmp_path):
    for number in range(30):
        (images / f"d{number:02}.jpg").write_text("no image")
    code, out, err = run("predict", "--bundle", bundle.root, "--output", tmp_path / "out.csv", images)
    assert (code, out) == (1, "")
    told = [line for line in err.splitlines() if ": error: unreadable: " in line]
    assert told[0] == (
        f"{images / 'b.jpg'}: error: unreadable: This is not a DICOM, JPEG or PNG file. "
        "Convert it, or unpack it if it is an archive."
    )
    assert len(told) == 20
    assert f"11 more were refused or failed. The reasons are in {tmp_path / 'out.csv'}." in err


def test_csv_says_the_same_as_json_lines(run, bundle, images, tmp_path):
    for name in ("out.csv", "out.jsonl"):
        assert run("predict", "--bundle", bundle.root, "--output", tmp_path / name, images)[0] == 1
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, record in zip(rows, records_of(tmp_path / "out.jsonl"), strict=True):
        for key in ("file", "status", "reason", "detail", "predicted_class"):
            assert row[key] == (record[key] or "")
        assert row["decision"] == (record["decision"] or {"class": ""})["class"]
        assert row["abnormal_probability"] == str((record["abnormal"] or {"probability": ""})["probability"])
        assert row["cause"] == (record["cause"] or {"name": ""})["name"]
        for key in ("weights_sha256", "backend"):
            assert row[key] == record["model"][key]
        for name in CLASS_NAMES:
            probability = (record["probabilities"] or {}).get(name)
            assert row[f"p_{name}"] == ("" if probability is None else str(probability))


def test_all_ok_is_exit_code_0_and_json_goes_to_the_terminal(run, bundle, images):
    code, out, _ = run("predict", "--bundle", bundle.root, "--json", images / "c.png", images / "a.png")
    assert code == 0
    files = [json.loads(line)["file"] for line in out.splitlines()]
    assert files == [str(images / "c.png"), str(images / "a.png")]


def test_table_for_a_person(run, bundle, images):
    code, out, err = run("predict", "--bundle", bundle.root, images)
    assert code == 1
    for word in ("a.png", "c.png", "p(covid)", "result", "medical device", "b.jpg: error: unreadable:"):
        assert word in out
    assert "Uncertain: normal or abnormal not decided" in " ".join(_column(out, "result"))
    assert "that the training has not seen was not measured" in " ".join(out.split())
    assert "Left out 1 file: it is not DICOM, JPEG or PNG." in err
    assert "\x1b" not in out + err


def _column(table: str, title: str) -> list[str]:
    """Cells of a column of a table in the terminal, whose columns three blanks tell apart."""
    lines = table.splitlines()
    header = next(line for line in lines if title in line)
    start = header.index(title)
    end = header.index("p(", start)
    return [line[start:end].strip() for line in lines]


def test_interrupted_run_keeps_what_is_finished(run, bundle, images, tmp_path, monkeypatch):
    predict = Classifier.predict

    def interrupted(self, paths):
        yield from list(predict(self, paths))[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "predict", interrupted)
    output = tmp_path / "out.jsonl"
    code, _, err = run("predict", "--bundle", bundle.root, "--output", output, images)
    assert code == 130
    assert f"{output}.partial has 2 results." in err
    assert not output.exists()
    assert len(records_of(tmp_path / "out.jsonl.partial")) == 2


@pytest.mark.slow
def test_file_name_that_is_no_text(run, bundle, images, tmp_path):
    name = os.fsdecode(b"f\xfflm\n[red].png")
    shutil.copy(images / "a.png", tmp_path / name)
    for options in ([], ["--json"], ["--output", tmp_path / "o.csv"], ["--output", tmp_path / "o.jsonl"]):
        assert run("predict", "--bundle", bundle.root, *options, tmp_path / name)[0] == 0
    assert os.fsencode(records_of(tmp_path / "o.jsonl")[0]["file"]) == os.fsencode(tmp_path / name)
    with (tmp_path / "o.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 1


def test_no_patient_identity_in_any_output(run, bundle, tmp_path):
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Secretname^Ada", "SECRETID", "19011231"
    ds.Modality, ds.BodyPartExamined, ds.PhotometricInterpretation = "CR", "CHEST", "MONOCHROME2"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 96, 80, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    pixels = np.random.default_rng(0).integers(0, 4096, (96, 80), dtype=np.uint16)
    ds.PixelData = pixels.tobytes()
    ds.save_as(tmp_path / "good.dcm", enforce_file_format=True)
    ds.PixelData = pixels.tobytes()[:100]
    ds.save_as(tmp_path / "short.dcm", enforce_file_format=True)
    ds.Modality = "US"
    ds.save_as(tmp_path / "refused.dcm", enforce_file_format=True)
    output = tmp_path / "out.jsonl"
    _, *printed = run("predict", "--bundle", bundle.root, tmp_path)
    run("predict", "--bundle", bundle.root, "--output", output, tmp_path)
    assert [record["status"] for record in records_of(output)] == ["ok", "refused", "error"]
    for text in (*printed, output.read_text()):
        for secret in ("Secretname", "Ada", "SECRETID", "19011231", ds.SOPInstanceUID):
            assert secret not in text


@pytest.mark.real_data
def test_folder_of_real_dicom_files(run, bundle, real_data, tmp_path):
    code, *_ = run("predict", "--bundle", bundle.root, "--output", tmp_path / "o.jsonl", real_data / "dicom")
    assert code == 1
    statuses = {Path(r["file"]).name: r["status"] for r in records_of(tmp_path / "o.jsonl")}
    assert len(statuses) == len(list((real_data / "dicom").iterdir()))
    assert statuses["RG1_J2KI.dcm"] == "ok"
    assert statuses["693_UNCR.dcm"] == "refused"


@pytest.mark.slow
def test_installed_command(bundle, images, tmp_path):
    command = Path(sys.executable).with_name("covid-monai")
    ct = get_testdata_file("CT_small.dcm")
    done = subprocess.run(
        [command, "predict", "--bundle", bundle.root, "--output", tmp_path / "o.jsonl", images / "a.png", ct],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{bundle.root} has no input gate (models/gate.npz), "
        "so any grey image is classified, whatever it shows.",
        f"{ct}: refused: not_a_projection_radiograph: "
        "Modality is CT, SOP Class is 1.2.840.10008.5.1.4.1.1.2; "
        "a projection radiograph (CR, DX, RG or a secondary capture of one) was expected.",
        f"2 files: 1 ok, 1 refused: not_a_projection_radiograph. Written to {tmp_path / 'o.jsonl'}.",
        RESEARCH_USE,
    ]
    assert [record["status"] for record in records_of(tmp_path / "o.jsonl")] == ["ok", "refused"]
