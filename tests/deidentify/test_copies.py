"""`covid-monai data deidentify` as a person runs it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from deidentify_helpers import IDENTITY, PATIENT_ID, command, copies, image, key_file, traces, tree
from dicom_helpers import make_ds, picture, save
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from typer.testing import CliRunner

from covid_monai.cli.main import app
from covid_monai.phantoms.dataset import write_phantoms
from covid_monai.readers import read_radiograph

pytestmark = pytest.mark.filterwarnings("ignore")
REPORT = "deidentification.json"
_CLASS = "1.2.840.10008.5.1.4.1.1."


def report_of(folder):
    return json.loads((folder / REPORT).read_text())


def test_an_export_becomes_copies_without_identity(tmp_path, export):
    result = command("--key-file", key_file(tmp_path), export, tmp_path / "out")
    assert result.exit_code == 0, result.output
    report = report_of(tmp_path / "out")
    assert report["complete"]
    assert report["counts"]["copies"] == 3
    assert report["counts"]["patients"] == 2
    assert report["counts"]["directories"] == 1
    told = result.output + json.dumps(
        tree(tmp_path / "out"), default=lambda content: content.decode("latin-1")
    )
    for word in (*IDENTITY, "Curie", "Maria", "IM000001", "HOSP"):
        assert word not in told, word
    mine = [ds for ds in map(pydicom.dcmread, copies(tmp_path / "out")) if ds.StudyDate != ""]
    by_patient = {}
    for ds in mine:
        by_patient.setdefault(ds.PatientID, []).append(int(np.datetime64(_iso(ds.StudyDate)).astype(int)))
    [pair] = [days for days in by_patient.values() if len(days) == 2]
    assert abs(pair[0] - pair[1]) == 10  # 1 to 11 March 2020


def _iso(value):
    return f"{value[:4]}-{value[4:6]}-{value[6:]}"


def test_two_sites_with_one_key_agree_and_with_two_keys_do_not(tmp_path, export):
    for name, digit in (("a", "1"), ("b", "1"), ("c", "2")):
        command("--key-file", key_file(tmp_path, digit=digit), export, tmp_path / name)
    a, b, c = (tree(tmp_path / name) for name in "abc")
    assert a == b
    assert not {path for path in a if path in c and path != REPORT}


@pytest.mark.slow
def test_a_run_that_was_killed_is_completed_by_the_next(tmp_path):
    write_phantoms(tmp_path / "in", patients=60, size=256, image_format="dicom", ct=False)
    key, out = key_file(tmp_path), tmp_path / "out"
    code = "from covid_monai.cli.main import main; main()"
    line = [sys.executable, "-c", code, "data", "deidentify", "--workers", "1", "--key-file", key]
    line += [tmp_path / "in", out]
    process = subprocess.Popen(list(map(str, line)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while len(copies(out)) < 5 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait(timeout=30)
    found = {path: path.stat().st_mtime_ns for path in copies(out)}
    assert found
    assert not report_of(out)["complete"]
    assert command("--key-file", key, tmp_path / "in", out).exit_code == 1  # datalist.json is no DICOM
    assert command("--key-file", key, tmp_path / "in", tmp_path / "whole").exit_code == 1
    assert len(copies(out)) > len(found)
    assert tree(out) == tree(tmp_path / "whole")
    redone = [path for path, when in found.items() if path.stat().st_mtime_ns != when]
    assert len(redone) <= 1  # the one between its name and its line in the journal


def _nested(depth, *, undefined):
    ds = image()
    inner = ds
    for _ in range(depth):
        item = Dataset()
        inner.ViewCodeSequence = Sequence([item])
        inner["ViewCodeSequence"].is_undefined_length = undefined
        inner = item
    inner.PatientComments = "ZQdeep"
    return ds


def _bad_inputs(folder):
    """Path of each bad input with the reason to expect."""
    save(image(), folder / "whole")
    compressed = image()
    compressed.compress(JPEG2000Lossless)
    for name, ds, end in (
        ("cut", image(), -500),
        ("cut_j2k", compressed, -500),
        ("cut_header", image(), 500),
    ):
        (folder / name).write_bytes(save(ds, folder / name).read_bytes()[:end])
    (folder / "noise").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "empty").write_bytes(b"")
    (folder / "Zamenhof.txt").write_text("a letter about Zamenhof")
    expected = {"cut": "truncated", "noise": "not_dicom", "empty": "not_dicom", "Zamenhof.txt": "not_dicom"}
    expected |= {"cut_j2k": {"unreadable", "truncated", "no_image"}, "cut_header": {"unreadable", "no_uids"}}
    made = {
        "no_uids": image(StudyInstanceUID=""),
        "report": image(SOPClassUID=f"{_CLASS}88.11"),
        "report pdf": image(SOPClassUID=f"{_CLASS}104.1"),
        "report modality": image(Modality="SR"),
        "presentation": image(SOPClassUID=f"{_CLASS}11.1"),
        "presentation key": image(SOPClassUID=f"{_CLASS}88.59"),
        "unknown_class": image(SOPClassUID="1.2.840.113619.4.30"),
        "burned_in": image(BurnedInAnnotation="YES"),
        "nesting": _nested(300, undefined=False),
        "nesting undefined": _nested(300, undefined=True),
    }
    bare = image()
    del bare.PixelData
    made["no_image"] = bare
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)  # pydicom writes sequences by recursion
    try:
        for name, ds in made.items():
            save(ds, folder / name)
            expected[name] = name.split()[0]
    finally:
        sys.setrecursionlimit(limit)
    return expected


def test_a_bad_input_has_one_record_with_its_reason_and_the_rest_goes_on(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    expected = _bad_inputs(folder)
    result = command("--key-file", key_file(tmp_path), folder, tmp_path / "out")
    assert result.exit_code == 1
    report = report_of(tmp_path / "out")
    names = sorted(path.name for path in folder.iterdir())
    found = {names[each["input"] - 1]: each["reason"] for each in report["refused"]}
    assert set(found) == set(expected)
    for name, reason in expected.items():
        assert found[name] in (reason if isinstance(reason, set) else {reason}), name
    assert len(copies(tmp_path / "out")) == report["counts"]["copies"] == 1
    assert not traces(result.output.encode() + json.dumps(report).encode(), "Zamenhof")
    assert not list((tmp_path / "out").rglob(".*tmp"))


def test_a_declared_burned_in_picture_comes_through_when_asked_and_stands_under_review(tmp_path):
    source = save(image(BurnedInAnnotation="YES"), tmp_path / "image")
    arguments = ("--key-file", key_file(tmp_path), "--allow-burned-in", source, tmp_path / "out")
    assert command(*arguments).exit_code == 0
    [reasons] = report_of(tmp_path / "out")["review"].values()
    assert reasons == ["burned_in_declared"]


def test_repeats_are_left_out_and_contradictions_refused(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    ds = image()
    save(ds, folder / "a")
    save(ds, folder / "b")
    ds.PatientID = "SOMEBODY ELSE"
    save(ds, folder / "c")
    result = command("--key-file", key_file(tmp_path), folder, tmp_path / "out")
    report = report_of(tmp_path / "out")
    assert result.exit_code == 1
    assert len(copies(tmp_path / "out")) == 1
    assert report["counts"]["repeats"] == 1
    assert [(each["input"], each["reason"]) for each in report["refused"]] == [(3, "conflict")]


def test_a_dataset_without_preamble_is_read_and_without_patient_id_its_study_counts(tmp_path):
    ds = image(PatientID="", PatientName="Zamenhof^Ludwik")
    save(ds, tmp_path / "image")
    content = (tmp_path / "image").read_bytes()
    start = content.index(b"\x08\x00\x08\x00CS")
    (tmp_path / "image").write_bytes(content[start:])
    result = command("--key-file", key_file(tmp_path), tmp_path / "image", tmp_path / "out")
    assert result.exit_code == 0, result.output
    [copy] = map(pydicom.dcmread, copies(tmp_path / "out"))
    assert copy.PixelData == ds.PixelData
    assert copy.PatientID
    assert report_of(tmp_path / "out")["counts"]["copies_without_patient_id"] == 1


def test_a_transfer_syntax_that_is_unknown_here_is_refused(tmp_path):
    ds = image()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content = save(ds, tmp_path / "image").read_bytes()
    private = b"1.2.3.4.19591215.77"
    assert len(private) == len(ExplicitVRLittleEndian)
    (tmp_path / "image").write_bytes(content.replace(ExplicitVRLittleEndian.encode(), private))
    command("--key-file", key_file(tmp_path), tmp_path / "image", tmp_path / "out")
    assert [each["reason"] for each in report_of(tmp_path / "out")["refused"]] == ["unknown_syntax"]


def test_inputs_are_left_as_they_were(tmp_path, export):
    before = {path: (content, (export / path).stat().st_mtime_ns) for path, content in tree(export).items()}
    command("--key-file", key_file(tmp_path), export, tmp_path / "out")
    assert {p: (c, (export / p).stat().st_mtime_ns) for p, c in tree(export).items()} == before


def _decoded(ds):
    try:
        return ds.pixel_array
    except Exception:  # noqa: BLE001  # some test files of pydicom cannot be decoded here
        return None


@pytest.mark.slow
def test_pixels_stay_bit_for_bit_in_every_transfer_syntax_there_is_a_file_of(tmp_path, real_data):
    folders = [Path(get_testdata_file("CT_small.dcm")).parent, real_data / "dicom"]
    syntaxes, compared = set(), 0
    for number, source in enumerate(sorted(path for folder in folders for path in folder.glob("*.dcm"))):
        out = tmp_path / str(number)
        if command("--key-file", key_file(tmp_path), "--allow-burned-in", source, out).exit_code:
            continue
        [path] = copies(out)
        old, new = pydicom.dcmread(source), pydicom.dcmread(path)
        pixels = _decoded(old)
        assert pixels is None or np.array_equal(pixels, _decoded(new)), source.name
        compared += pixels is not None
        assert not [name for name in ("Rows", "Columns", "BitsStored") if old.get(name) != new.get(name)]
        syntaxes.add(new.file_meta.TransferSyntaxUID)
    assert compared >= 60, compared
    assert len(syntaxes) >= 11, syntaxes


def test_the_result_goes_straight_into_a_datalist_with_the_same_pixels(tmp_path):
    sources, out = tmp_path / "in", tmp_path / "out"
    sources.mkdir()
    for number in range(8):
        ds = make_ds(np.roll(picture(), 9 * number), PatientID=f"HOSP-{number // 2}", PatientSex="F")
        ds.StudyInstanceUID, ds.BurnedInAnnotation = generate_uid(), "NO"
        save(ds, sources / str(number))
    table = tmp_path / "crosswalk.csv"
    command("--key-file", key_file(tmp_path), "--crosswalk", table, sources, out)
    rows = list(csv.DictReader(table.open()))
    for row in rows:
        old, _ = read_radiograph(row["old_path"])
        new, _ = read_radiograph(out / row["new_path"])
        np.testing.assert_array_equal(old, new)
    lines = [f"{row['new_instance_uid']},{'normal' if int(row['input']) % 2 else 'covid'}" for row in rows]
    (out / "labels.csv").write_text("\n".join(["SOPInstanceUID,label", *lines]))
    datalist = tmp_path / "datalist.json"
    line = ["data", "prepare", "dicom-folder", str(out), "--output", str(datalist), "--no-check-duplicates"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    listed = json.loads(datalist.read_text())
    images = [image for split in ("training", "validation", "test") for image in listed[split]]
    assert len(images) == 8
    assert {image["patient"] for image in images} == {f"dicom-folder:{row['new_patient_id']}" for row in rows}
    assert PATIENT_ID not in datalist.read_text()


@pytest.mark.slow
def test_predictions_of_copies_are_those_of_the_originals(tmp_path):
    write_phantoms(tmp_path / "in", patients=9, size=128, image_format="dicom", ct=False)
    images = tmp_path / "in" / "images"
    command("--key-file", key_file(tmp_path), "--retain", "patient-characteristics", images, tmp_path / "out")
    told = []
    for folder in (images, tmp_path / "out"):
        result = CliRunner().invoke(app, ["predict", "--json", str(folder)])
        lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        told.append(sorted((line["status"], json.dumps(line["probabilities"])) for line in lines))
    assert len(told[0]) >= 9
    assert told[0] == told[1]
