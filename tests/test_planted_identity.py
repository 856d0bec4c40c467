"""No output names a patient except those that docs/privacy.md lists, which only their owner can read."""

import base64
import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from api_helpers import Served
from app_helpers import Page, Server, browser_test
from pacs_helpers import NEEDS_ORTHANC, of, wait_until
from PIL import Image
from planted_identity import PLANTED, mistakes, planted_dicom, planted_raster, planted_words, rows_of_the_page
from pydicom import dcmread

ROOT = Path(__file__).parents[1]
COLUMN = "QZCOLUMN"
SMALL = {"network_name": "resnet10", "image_size": 64, "batch_size": 4, "max_epochs": 1, "precision": "fp32"}


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
    others = {"QZPRIVATE", "QZNESTED", "QZACCESSION", "QZPATIENTID", "QZHOSPITAL"}
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
    html = f"<img src='data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}'>"
    assert planted_words(html.encode()) == {"QZEXIF"}


@pytest.mark.slow
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


@pytest.mark.slow
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


def said(folder: Path, *answers: bytes) -> None:
    """Keep the answers of a server where the search finds them."""
    kept = folder / "answers and downloads"
    kept.mkdir(exist_ok=True)
    for answer in answers:
        (kept / str(len(list(kept.iterdir())))).write_bytes(answer)


def uploads(inputs: Path) -> list[tuple[str, bytes]]:
    """Names, with a path as some clients send it, and contents: images, a broken one, a zip, a text."""
    dicom, raster = inputs / "dicom", inputs / "raster"
    paths = [dicom / "QZFOLDER" / "QZFILE0.dcm", raster / "QZFILE0.png", dicom / "QZFILE-broken.dcm"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(paths[0], "QZFOLDER/QZFILE1.dcm")
    contents = [*(path.read_bytes() for path in paths), packed.getvalue(), b"of QZNAME"]
    names = ("QZFILE0.dcm", "QZFILE0.png", "QZFILE-broken.dcm", "QZFILE.zip", "QZFILE.txt")
    return [(f"C:\\QZFOLDER/{name}", content) for name, content in zip(names, contents, strict=True)]


@pytest.mark.slow
@pytest.mark.usefixtures("everybody_may_read")
def test_the_rest_service(inputs, tmp_path):
    folder = tmp_path / "serve"
    folder.mkdir()
    service = Served(folder)
    try:
        for name, content in uploads(inputs):
            answer = requests.post(f"{service.url}/v1/predict", files={"files": (name, content)}, timeout=120)
            headers = {"Content-Type": "application/dicom"}
            raw = requests.post(f"{service.url}/v1/predict", data=content, headers=headers, timeout=120)
            said(folder, answer.content, str(answer.headers).encode(), raw.content)
        for path in ("metrics", "QZNAME", "v1/QZNAME?patient=QZNAME", "v1/models"):
            said(folder, requests.get(f"{service.url}/{path}", timeout=60).content.replace(b"QZNAME", b""))
    finally:
        service.stop()
    assert "QZFILE0.dcm" in (folder / "answers and downloads" / "0").read_text()
    assert mistakes("serve", folder) == []


@browser_test
@pytest.mark.usefixtures("everybody_may_read")
def test_the_page_in_the_browser(inputs, tmp_path):
    folder = tmp_path / "app"
    (folder / "answers and downloads").mkdir(parents=True)
    server = Server(folder)
    page = Page(tmp_path / "profile", folder / "answers and downloads")
    try:
        for name, content in uploads(inputs):
            address, headers = server.url + server.upload_path(), {"X-File-Name": name}
            said(folder, requests.post(address, data=content, headers=headers, timeout=120).content)
        page.screen(1280)
        page.open(server.url)
        page.open_tab("Batch")
        page.upload(inputs / "dicom" / "QZFOLDER" / "QZFILE0.dcm", inputs / "raster" / "QZFILE0.png")
        page.wait_for("[role=status]", "2 of 2 images in")
        for kind in ("CSV", "PDF"):
            page.click("button", kind)
            assert "QZFILE" in planted_words(page.downloaded(f".{kind.lower()}").read_bytes())
        said(folder, page.driver.page_source.encode())
    finally:
        page.driver.quit()
        server.stop()
    assert mistakes("app", folder) == []


@pytest.mark.slow
@NEEDS_ORTHANC
@pytest.mark.usefixtures("everybody_may_read")
def test_the_worker_beside_an_archive(orthanc, started, inputs, tmp_path):
    orthanc.send([*(inputs / "dicom" / "QZFOLDER").glob("QZFILE[0-3].dcm")])
    audit = {"file": str(tmp_path / "worker" / "trail" / "audit.jsonl")}
    worker = started(of(orthanc), audit=audit, state_dir=tmp_path / "worker" / "made" / "state")
    wait_until(lambda: len(orthanc.results()) >= 4, seconds=180, what="results")
    said(worker.folder, worker.metrics().encode(), json.dumps(worker.health()).encode())
    written = {path.name for path in worker.state.rglob("*")}
    assert {"queue.sqlite", "queue.sqlite-wal", "audit.key"} <= written
    sent = dcmread(inputs / "dicom" / "QZFOLDER" / "QZFILE0.dcm", stop_before_pixels=True)
    questions = (["status"], ["explain", str(sent.StudyInstanceUID)], ["explain", "1.2.3"], ["retry-now"])
    told = [worker.command(*question) for question in questions]
    assert f"Object {sent.SOPInstanceUID}" in told[1].stdout
    messages = "".join(one.stdout + one.stderr for one in told)
    (worker.folder / "messages in the terminal").write_text(messages)
    assert worker.stop() == 0
    assert mistakes("worker", worker.folder) == []


@pytest.fixture
def trained(inputs, tmp_path, command, monkeypatch) -> Path:
    """A folder with a finished training: run, cache, MLflow store, and what it said in the terminal."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command("data prepare", "csv", inputs / "raster", "--output", "OUT/datalist.json")
    datalist = planted_datalist(tmp_path / "out" / "data prepare" / "datalist.json")
    from covid_monai.networks import build_network

    weights = inputs / "QZFILE.pt"
    torch.save(build_network("resnet10", num_classes=3).state_dict(), weights)
    folder = tmp_path / "out" / "train"
    folder.mkdir(parents=True)
    config = ROOT / "bundles" / "covid_cxr_classification" / "configs" / "train.yaml"
    options = {"config_file": config, "bundle_root": config.parents[1], "datalist": datalist}
    options |= {"output_dir": folder / "QZFOLDER" / "run", "cache_dir": folder / "QZFOLDER" / "cache"}
    options |= {"pretrained": weights, **SMALL}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "training", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=600,
        check=False,
    )
    (folder / "messages in the terminal").write_bytes(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_training_evaluation_mlflow_and_export(trained, command, tmp_path):
    assert mistakes("train", trained) == []
    store = [trained / "mlruns.db", trained / "mlruns"]
    assert [path.stat().st_mode & 0o777 for path in store] == [0o600, 0o700]
    logged = {path.name for path in (trained / "mlruns").rglob("*")}
    assert {"train_resolved.yaml", "validation_roc.png", "model.pt", "gate.npz"} <= logged

    run, datalist = trained / "QZFOLDER" / "run", tmp_path / "out" / "data prepare" / "planted.json"
    evaluate = ("evaluate", "--bundle", run, "--datalist", datalist, "--output", "OUT/new")
    assert command(*evaluate) == []
    (copy,) = (trained / "mlruns").rglob("report.html")
    assert len(copy.read_bytes()) > 100_000
    assert mistakes("train", trained) == []

    assert command("export", "--bundle", run, "--output", "OUT") == []
    assert command("predict", tmp_path / "none", "--bundle", run, "--output", "OUT/a.jsonl", code=None) == []

    assert command(*evaluate, "--log-images") == []
    assert {"QZFILE", "QZSOURCE"} <= planted_words(copy.read_bytes())
    assert copy.read_bytes() == (tmp_path / "out" / "evaluate" / "new" / "report.html").read_bytes()


@pytest.mark.slow
def test_an_experiment(command, inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/out/experiment/mlruns.db")
    study = {"title": "A", "sources": [["csv", "raster"]], "protocol": "official_test"}
    study |= {"take": [{"class": "normal"}, {"class": "covid"}], "classes": ["normal", "covid"]}
    study |= {"published": {"accuracy": 0.9, "where": "nobody"}}
    config = {**SMALL, "cache_dir": str(tmp_path / "cache"), "study": study}
    (tmp_path / "study.yaml").write_text(json.dumps(config))
    assert command("experiment", tmp_path / "study.yaml", "--data", inputs, "--output", "OUT/new") == []


@pytest.mark.slow
def test_an_archive_on_a_cluster(command, inputs, monkeypatch):
    pytest.importorskip("ray", reason="needs the extra cluster")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    images = [inputs / "raster" / "QZFILE0.png", inputs / "dicom" / "QZFOLDER" / "QZFILE0.dcm"]
    assert command("score-archive", *images, "--output", "OUT/new/a.jsonl") == []


def test_every_file_of_the_page_is_for_its_owner_alone_unless_it_says_otherwise():
    listed = [row for row in rows_of_the_page() if row.mode is not None]
    assert {row.mode for row in listed} == {0o600}
    assert len(listed) >= 20
