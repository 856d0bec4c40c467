"""No output names a patient except those that docs/privacy.md lists, which only their owner can read."""

import gzip
import io
import json
import os
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted_identity import PLANTED, mistakes, planted_dicom, planted_raster, planted_words, rows_of_the_page

COLUMN = "QZCOLUMN"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder of DICOM files and one of other images, each with a table; all of them are full of names."""
    folder = tmp_path_factory.mktemp("inputs") / "QZFOLDER"
    classes = ("normal", "pneumonia", "covid")
    dicom, raster = ["AccessionNumber,label," + COLUMN], ["image,label,patient," + COLUMN]
    for number in range(18):
        planted_dicom(folder / "dicom" / "QZFOLDER" / f"QZFILE{number}.dcm", number)
        dicom.append(f"QZACCESSION{number},{classes[number % 3]},{COLUMN}")
        name = f"QZFILE{number}.{('png', 'jpg')[number % 2]}"
        planted_raster(folder / "raster" / name, number)
        raster.append(f"{name},{classes[number % 3]},QZPATCOLUMN{number},{COLUMN}")
    dicom.append(f"QZACCESSION99,normal,{COLUMN}")  # no file has it
    (folder / "dicom" / "labels.csv").write_text("\n".join(dicom))
    (folder / "raster" / "labels.csv").write_text("\n".join(raster))
    (folder / "dicom" / "QZFILE-broken.dcm").write_bytes(b"\0" * 128 + b"DICM QZNAME")
    return folder


@pytest.fixture
def everybody_may_read():
    """The umask under which a program has to choose the modes itself."""
    earlier = os.umask(0)
    yield
    os.umask(earlier)


@pytest.fixture
def command(run, tmp_path, everybody_may_read):  # noqa: ARG001
    """Run a command that writes into `OUT`, and return what differs from the page."""

    def call(name: str, *arguments: object, code: int | None = 0) -> list[str]:
        folder = tmp_path / "out" / name
        words = [str(each).replace("OUT", str(folder)) for each in arguments]
        done, out, err = run(*name.split(), *words)
        assert code is None or done == code, err
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "messages in the terminal").write_text(out + err)
        return mistakes(name, folder)

    return call


def test_the_search_finds_what_is_packed_encoded_or_compressed(tmp_path):
    database = sqlite3.connect(tmp_path / "a.sqlite")
    database.execute("CREATE TABLE t AS SELECT 'QZNAME'")
    database.commit()
    torch.save({"a": "QZNAME"}, tmp_path / "a.pt")
    np.savez_compressed(tmp_path / "a.npz", plain="qzname")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.gz", gzip.compress(b"QZNAME"))
    (tmp_path / "a.txt").write_bytes("QZNAME".encode("utf-16"))
    planted_raster(tmp_path / "a.png")
    planted_raster(tmp_path / "a.jpg")
    found = {path.suffix: planted_words(path.read_bytes()) for path in tmp_path.iterdir()}
    names = {"QZNAME"}
    assert found == {
        **dict.fromkeys((".sqlite", ".pt", ".npz", ".zip", ".txt"), names),
        ".png": {"QZEXIF", "QZTEXT"},
        ".jpg": {"QZEXIF", "QZCOMMENT"},
    }
    content = planted_dicom(tmp_path / "a.dcm").read_bytes()
    header = {word for word, kind in PLANTED.items() if kind == "the patient and study"}
    others = {"QZPRIVATE", "QZNESTED", "QZACCESSION", "QZPATIENTID"}
    assert planted_words(content) == header | others


def test_the_search_reads_pdf_files_and_pages_with_images_in_them():
    from fpdf import FPDF

    page = FPDF()
    page.add_page()
    page.set_font("Helvetica")
    page.cell(text="of QZNAME")
    assert planted_words(bytes(page.output())) == {"QZNAME"}
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010E] = "QZEXIF"
    Image.new("L", (8, 8)).save(file, "JPEG", exif=exif)
    import base64

    html = f"<img src='data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}'>"
    assert planted_words(html.encode()) == {"QZEXIF"}


def test_data_prepare_and_audit(command, inputs, tmp_path):
    sources = ("dicom-folder", inputs / "dicom", "csv", inputs / "raster")
    assert command("data prepare", *sources, "--output", "OUT/new/datalist.json") == []
    datalist = tmp_path / "out" / "data prepare" / "new" / "datalist.json"
    words = planted_words(datalist.read_bytes())
    assert {"QZFILE", "QZFOLDER", "QZPATIENTID", "QZPATCOLUMN"} <= words
    assert command("data audit", planted_datalist(datalist), "--output", "OUT", code=None) == []


def planted_datalist(path: Path) -> Path:
    """Add a source and a key of one's own to every record of a datalist."""
    content = json.loads(path.read_text())
    for split in ("training", "validation", "test"):
        for number, record in enumerate(content[split]):
            record.update(source=f"QZSOURCE{number % 2}", QZKEY="QZKEY")
    changed = path.with_name("planted.json")
    changed.write_text(json.dumps(content))
    return changed


def test_data_deidentify(command, inputs):
    options = ("--key-file", "OUT/secret/key", "--new-key", "--crosswalk", "OUT/secret/crosswalk.csv")
    assert command("data deidentify", inputs / "dicom", "OUT/copies", *options, code=1) == []


def test_predict_with_all_its_outputs(command, inputs):
    dicom, raster = inputs / "dicom", inputs / "raster"
    images = (dicom / "QZFOLDER" / "QZFILE0.dcm", dicom / "QZFILE-broken.dcm", raster / "QZFILE0.png")
    outputs = ("--dicom-output", "OUT/new/dicom", "--pdf", "--report", "OUT/new/report.pdf")
    assert command("predict", *images, "--output", "OUT/new/a.jsonl", *outputs, code=1) == []
    one = inputs / "dicom" / "QZFOLDER" / "QZFILE1.dcm"
    assert command("predict", one, "--output", "OUT/a.csv", "--report", "OUT/one.pdf") == []


def test_compare(command, tmp_path):
    from evaluation_helpers import NAMES, make_rows

    from covid_monai.evaluation.metrics.prediction_table import write_predictions

    rows = [{**row, "patient": f"QZPATIENTID{row['patient']}"} for row in make_rows("test", 30)]
    for name in ("a", "b"):
        write_predictions(tmp_path / "QZFOLDER" / name / "predictions.csv", rows, NAMES)
    tables = [tmp_path / "QZFOLDER" / name / "predictions.csv" for name in ("a", "b")]
    assert command("compare", *tables, "--output", "OUT/new/comparison.json", "--resamples", 100) == []


def test_every_file_of_the_page_is_for_its_owner_alone_unless_it_says_otherwise():
    listed = [row for row in rows_of_the_page() if row.mode is not None]
    assert {row.mode for row in listed} == {0o600}
    assert len(listed) >= 20
