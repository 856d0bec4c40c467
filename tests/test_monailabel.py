"""MONAI Label itself, in its own environment, serves the exported bundle unedited, and trains it in our app.

`make monailabel-environment` makes the environment; COVID_MONAI_MONAILABEL names it.
"""

import filecmp
import http.client
import io
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import JPEG2000TransferSyntaxes, generate_uid
from scipy.stats import entropy

from covid_monai.bundle.bundle_zip import CHECKSUMS
from covid_monai.bundle.shipped import LUNG_BUNDLE
from covid_monai.export import export_bundle
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.wording import finding
from covid_monai.lungs import LungSegmenter
from covid_monai.phantoms.dataset import write_phantoms
from covid_monai.readers import read_radiograph

ROOT = Path(__file__).parents[1]
NAME = "covid_cxr_classification"
ENVIRONMENT = os.environ.get("COVID_MONAI_MONAILABEL")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not ENVIRONMENT, reason="make monailabel-environment, then COVID_MONAI_MONAILABEL=.venv-monailabel"
    ),
]


@pytest.fixture(scope="module")
def binaries():
    return (ROOT / ENVIRONMENT / "bin").absolute()


@pytest.fixture(scope="module")
def bundle(archive, tmp_path_factory, binaries):
    """The exported archive unpacked, and its wheel in MONAI Label's environment."""
    folder = tmp_path_factory.mktemp("export")
    shutil.unpack_archive(archive, folder)
    (wheel,) = (folder / NAME / "wheels").glob("covid_monai-*.whl")
    install = [binaries / "pip", "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", wheel]
    subprocess.run(install, check=True)
    return folder / NAME


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "images"
    datalist = json.loads(
        write_phantoms(folder, patients=24, size=160, image_format="dicom", ct=False).read_text()
    )
    items = datalist["training"] + datalist["validation"] + datalist["test"]
    return {folder / item["image"]: datalist["labels"][str(item["label"])] for item in items}


@pytest.fixture
def app(tmp_path, bundle, binaries):
    """The stock app with nothing but the bundle put into `model/`."""
    shutil.copytree(
        binaries.parent / "monailabel" / "sample-apps" / "monaibundle",
        tmp_path / "stock",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(bundle, tmp_path / "stock" / "model" / NAME)
    # Without this name there it asks the internet for a tool that writes segmentations.
    (tmp_path / "stock" / "bin").mkdir()
    (tmp_path / "stock" / "bin" / "itkimage2segimage").touch()
    return tmp_path / "stock"


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _request(url, *, method="GET", body=None, kind="application/json"):
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.loads(response.read() or b"{}")


def _wait(url, process, log, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            return _request(url)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    pytest.fail(f"{url} did not answer: {log.read_text()[-3000:]}")


@contextmanager
def _process(command, log, *, answers, **options):
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
    try:
        _wait(answers, process, log)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def served(app, studies, binaries, models=NAME, **environment):
    """MONAI Label's server; gives its address."""
    url = f"http://127.0.0.1:{(port := _free_port())}"
    command = [binaries / "python", "-m", "monailabel.main", "start_server"]
    command += ["--app", app, "--studies", studies, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--conf", "models", models, "--conf", "zoo_source", "local", "--conf", "sam2", "false"]
    settings = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": "",
        "MONAI_LABEL_DATASTORE_FILE_EXT": '["*.dcm", "*.jpg", "*.jpeg", "*.png"]',
        "OMP_NUM_THREADS": "2",
        **environment,
    }
    log = app.parent / "server.log"
    with _process(command, log, answers=f"{url}/info/", env={**os.environ, **settings}, cwd=app.parent):
        yield url


def _scores(url, image):
    found = _request(f"{url}/infer/{NAME}?{urlencode({'image': image, 'output': 'json'})}", method="POST")
    return {row["label"]: row["score"] for row in found["prediction"]}


def _ours(bundle, files):
    return {
        Path(record.file).stem: record.probabilities
        for record in Classifier(bundle).predict(files)
        if record.ok
    }


def _check_levels(url, bundle, files):
    """Compare the two levels of our app's answers with those of `predict`."""
    for record in Classifier(bundle).predict(files):
        query = urlencode({"image": Path(record.file).stem, "output": "json"})
        found = _request(f"{url}/infer/{NAME}?{query}", method="POST")
        assert found["notice"] == record.to_json()["notice"]
        if record.ok and not record.quality["cut_off"]:  # else predict withholds normal
            assert found["finding"] == finding(record)
            assert found["abnormal"]["call"] == record.abnormal["call"]
            assert found["abnormal"]["probability"] == pytest.approx(record.abnormal["probability"], abs=1e-4)
            assert found["cause"]["name"] == record.cause["name"]


def _studies(folder, phantoms):
    """DICOM of both polarities, JPEG 2000, JPEG."""
    folder.mkdir()
    images = list(phantoms)[:6]
    for image in images:
        shutil.copy(image, folder)
    inverted = dcmread(images[0])
    inverted.PixelData = (2**inverted.BitsStored - 1 - inverted.pixel_array).astype("uint16").tobytes()
    swap = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1"}
    inverted.PhotometricInterpretation = swap[inverted.PhotometricInterpretation]
    inverted.SOPInstanceUID = inverted.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    inverted.SeriesInstanceUID = generate_uid()
    inverted.save_as(folder / "other_polarity.dcm")
    data = os.environ.get("COVID_MONAI_DATA")
    if data:
        shutil.copy(Path(data) / "dicom" / "RG1_J2KI.dcm", folder)
        shutil.copy(Path(data) / "chest_xray" / "test" / "NORMAL" / "IM-0001-0001.jpeg", folder)
    return sorted(folder.iterdir())


def test_the_stock_app_serves_the_bundle_without_an_edit(app, bundle, phantoms, binaries, tmp_path):
    files = _studies(tmp_path / "studies", phantoms)
    with served(app, tmp_path / "studies", binaries) as url:
        model = _request(f"{url}/info/")["models"][NAME]
        assert model["type"] == "classification"
        assert model["labels"] == {"normal": 0, "pneumonia": 1, "covid": 2}
        ours = _ours(bundle, files)
        assert len(ours) >= 6
        assert "other_polarity" in ours
        for image, probabilities in ours.items():
            assert _scores(url, image) == pytest.approx(probabilities, abs=1e-4), image


@pytest.mark.usefixtures("bundle")  # the wheel in MONAI Label's environment
def test_our_app_serves_lung_masks_of_the_size_of_the_image(app, phantoms, binaries, tmp_path):
    shutil.copy(ROOT / "deploy" / "monailabel" / "main.py", app)
    shutil.unpack_archive(export_bundle(ROOT / LUNG_BUNDLE, tmp_path), app / "model")
    files, segmenter = _studies(tmp_path / "studies", phantoms), LungSegmenter()
    with served(app, tmp_path / "studies", binaries, models=LUNG_BUNDLE.name) as url:
        information = _request(f"{url}/info/")
        model = information["models"][LUNG_BUNDLE.name]
        assert (model["type"], model["labels"]) == ("segmentation", {"lungs": 1})
        assert not information["trainers"]  # our training is one of classes
        for file in files:
            query = urlencode({"image": file.stem, "output": "image"})
            body = urlencode({"params": json.dumps({"result_extension": ".png"})}).encode()
            with urllib.request.urlopen(
                urllib.request.Request(f"{url}/infer/{LUNG_BUNDLE.name}?{query}", data=body), timeout=600
            ) as response:
                mask = np.asarray(Image.open(io.BytesIO(response.read())))
            expected = segmenter(read_radiograph(file)[0][0]) > 0.5
            assert mask.shape == expected.shape
            assert np.mean((mask == 1) == expected) > 0.99


@pytest.mark.skipif(
    None in (shutil.which("Orthanc"), shutil.which("storescu")),
    reason="needs Orthanc and DCMTK (apt-get install orthanc orthanc-dicomweb orthanc-gdcm dcmtk)",
)
def test_the_same_through_dicomweb_on_orthanc(app, bundle, phantoms, binaries, tmp_path):
    files = [path for path in _studies(tmp_path / "studies", phantoms) if path.suffix == ".dcm"]
    plugins = [
        path
        for name in ("libOrthancDicomWeb.so", "libOrthancGdcm.so")  # the second decodes JPEG 2000
        if (path := Path("/usr/share/orthanc/plugins") / name).is_file()
    ]
    port, dimse = _free_port(), _free_port()
    settings = {
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "HttpPort": port,
        "DicomPort": dimse,
        "DicomAlwaysAllowStore": True,
        "RemoteAccessAllowed": False,
        # Decoded on arrival: later, JPEG 2000 crashes Debian's Orthanc 1.10 (docs/monai-label.md).
        "IngestTranscoding": "1.2.840.10008.1.2.1",
        "Plugins": list(map(str, plugins)),
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    orthanc = f"http://127.0.0.1:{port}"
    environment = {
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": "{}",
        "MONAI_LABEL_DICOMWEB_CONVERT_TO_NIFTI": "false",
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(tmp_path / "fetched"),
    }
    with _process(
        ["Orthanc", tmp_path / "orthanc.json"], tmp_path / "orthanc.log", answers=f"{orthanc}/system"
    ):
        send = ["storescu", "-xw", "-aec", "ORTHANC", "127.0.0.1", str(dimse), *map(str, files)]
        subprocess.run(send, check=True)
        ours = _ours(bundle, files)
        with served(app, f"{orthanc}/dicom-web", binaries, **environment) as url:
            for path in [path for path in files if path.stem in ours]:
                ds = dcmread(path)
                # Orthanc has unpacked it: raw images shrink by block averages, not by wavelet levels.
                near = 0.05 if ds.file_meta.TransferSyntaxUID in JPEG2000TransferSyntaxes else 1e-4
                found = _scores(url, str(ds.SeriesInstanceUID))
                assert found == pytest.approx(ours[path.stem], abs=near), path.name


def _save_label(url, image, name):
    content = json.dumps({"label": name})
    head = 'Content-Disposition: form-data; name="label"; filename="label.json"'
    body = f"--x\r\n{head}\r\nContent-Type: application/json\r\n\r\n{content}\r\n--x--\r\n"
    _request(
        f"{url}/datastore/label?{urlencode({'image': image, 'tag': 'final'})}",
        method="PUT",
        body=body.encode(),
        kind="multipart/form-data; boundary=x",
    )


def test_our_app_trains_on_labels_and_asks_where_it_doubts(app, bundle, phantoms, binaries, tmp_path):
    shutil.copy(ROOT / "deploy" / "monailabel" / "main.py", app)
    (tmp_path / "studies").mkdir()
    for image in phantoms:
        shutil.copy(image, tmp_path / "studies")
    environment = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlruns.db",
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",  # it would be busy with that when the test asks for it
    }
    with served(app, tmp_path / "studies", binaries, **environment) as url:
        labelled = list(phantoms)[:-6]
        for image in labelled:
            _save_label(url, image.stem, phantoms[image])
        _check_levels(url, bundle, labelled[:4])
        before = _scores(url, labelled[0].stem)  # MONAI Label keeps what it has loaded for it
        body = json.dumps({"max_epochs": 1, "device": "cpu"}).encode()
        result = _request(f"{url}/train/{NAME}?run_sync=true", method="POST", body=body)
        assert sum(result["images"].values()) == len(labelled)
        assert result["updated"]
        run = Path(result["run"])
        modes = [path.stat().st_mode & 0o777 for path in (run, run / "labels.csv", run / "datalist.json")]
        assert modes == [0o700, 0o600, 0o600]
        assert (run / run.name / "models" / "model.pt").is_file()
        served_bundle = app / "model" / NAME
        weights, trained = (root / "models" / "model.pt" for root in (served_bundle, run / run.name))
        assert filecmp.cmp(weights, trained, shallow=False)
        assert filecmp.cmp(run / "replaced" / "model.pt", bundle / "models" / "model.pt", shallow=False)
        assert not (served_bundle / CHECKSUMS).exists()
        with sqlite3.connect(tmp_path / "mlruns.db") as database:
            assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
        # What is served from now on is the new network, and the most doubtful image comes next.
        scored = _request(f"{url}/scoring/{NAME}_uncertainty?run_sync=true", method="POST", body=b"{}")
        assert scored["scored"] + scored["refused"] == 6
        ours = _ours(served_bundle, list(phantoms)[-6:])
        next_image = _request(f"{url}/activelearning/uncertainty", method="POST", body=b"{}")["id"]
        assert _scores(url, next_image) == pytest.approx(ours[next_image], abs=1e-4)
        after = _scores(url, labelled[0].stem)
        assert after != before
        assert after == pytest.approx(_ours(served_bundle, labelled[:1])[labelled[0].stem], abs=1e-4)
        assert next_image == max(ours, key=lambda image: entropy(list(ours[image].values())))


def _ask(url, method, path, body=None, **headers):
    """A request whose headers are the caller's own, Host too; its status and the names of CORS headers."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    headers = {"Host": urlsplit(url).netloc, "Content-Length": str(len(body or b""))} | headers
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, [name for name in answer.headers if name.lower().startswith("access-control")]


def _infer(url, **params):
    """Status of an inference whose parameters are those of an attacker."""
    body = urlencode({"params": json.dumps(params)}).encode()
    path = f"/infer/{NAME}?image=image_1&output=json"
    return _ask(url, "POST", path, body, Content_Type="application/x-www-form-urlencoded")[0]


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "null"},
    {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
    {"Sec_Fetch_Site": "same-site"},
    *(
        {"Host": host}
        for host in ("evil.example", "localhost.evil.example", "192.0.2.1", "", "[::1", "a@localhost")
    ),
]
ROUTES = [
    *(
        ("GET", path)
        for path in ("/", "/info/", "/datastore/?output=all", "/logs/", "/openapi.json", "/docs")
    ),
    *(
        ("GET", path)
        for path in ("/ohif/", "/static/favicon.ico", "/proxy/dicom/studies", f"/model/{NAME}", "/train/")
    ),
    *(("GET", path) for path in ("/datastore/image?image=image_1", "/session/x", "/nothing")),
    *(
        ("POST", path)
        for path in ("/reload", f"/train/{NAME}", f"/infer/{NAME}?image=image_1", f"/batch/infer/{NAME}")
    ),
    *(
        ("PUT", path)
        for path in ("/datastore/image?image=x", "/datastore/label?image=image_1", f"/model/{NAME}")
    ),
    *(("DELETE", path) for path in ("/datastore/image?id=image_1", "/session/x", f"/model/{NAME}")),
    *((method, "/info/") for method in ("HEAD", "OPTIONS")),
]
PATHS = [
    *(("DELETE", path) for path in ("/session/..", "/session/%2e%2e", "/session/..%2f..%2fx", "/session/.")),
    *(
        ("GET", path)
        for path in ("/datastore/image?image=../../etc/hostname", "/datastore/label?label=a&tag=..")
    ),
    *(
        ("PUT", path)
        for path in ("/datastore/image?image=..%2fmain", "/datastore/label?image=a&tag=%2e%2e%5cx")
    ),
    *(
        (method, f"/proxy/dicom/{path}")
        for method in ("GET", "POST")
        for path in (
            "wado/../../system",
            "%2e%2e/tools/execute-script",
            "%252e%252e/system",
            "qido/..%2f..%2fsystem",
        )
    ),
    ("GET", "/ohif/%2e%2e/index.html"),
    ("PUT", "/session/?uncompress=true"),
    ("POST", f"/infer/{NAME}?image=/etc/hostname"),
]


def test_our_app_answers_only_to_its_own_names_and_pages_and_runs_nothing_of_a_request(
    app, phantoms, binaries, tmp_path
):
    shutil.copy(ROOT / "deploy" / "monailabel" / "main.py", app)
    (tmp_path / "studies").mkdir()
    shutil.copy(next(iter(phantoms)), tmp_path / "studies" / "image_1.dcm")
    with served(app, tmp_path / "studies", binaries) as url:
        for headers in FOREIGN:
            for method, path in ROUTES:
                assert _ask(url, method, path, **headers) == (403, []), (method, path, headers)
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        assert _ask(url, "GET", "/", Origin="https://evil.example", **upgrade, **key) == (403, [])
        for method, path in PATHS:
            assert _ask(url, method, path)[0] == 403, (method, path)
        # 3D Slicer and curl send no Origin; OHIF is a page of this server.
        port = urlsplit(url).port
        for host in ("localhost", "127.0.0.1", "[::1]"):
            page = {"Origin": f"http://{host}:{port}", "Sec_Fetch_Site": "same-origin"}
            for headers in ({}, page):
                assert _ask(url, "GET", "/datastore/", Host=f"{host}:{port}", **headers)[0] == 200
        _run_nothing_of_a_request(url, tmp_path)
        assert _infer(url, device="cpu") == 200
        assert set(_request(f"{url}/datastore/?output=all")["objects"]) == {"image_1"}


def _run_nothing_of_a_request(url, folder):
    made = folder / "made_by_a_request"
    code = f"$open({str(made)!r}, 'w')"
    for device in (code, [code], f"$({code[1:]}, 'cpu')[1]", f"cpu{code}", "%x", "@network", "cuda:99999"):
        assert _infer(url, device=device) >= 400, device
    before = sorted(folder.iterdir())
    for name in ("..", ".", "../..", "a/.."):
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        form = f"--B\r\n{head}\r\n\r\nplanted\r\n--B--\r\n"
        kind = "multipart/form-data; boundary=B"
        assert _ask(url, "PUT", "/datastore/", form.encode(), Content_Type=kind)[0] >= 400, name
    assert sorted(folder.iterdir()) == before
    for name in ("../../../main.py", "/etc/hostname", str(made)):
        assert _infer(url, model_filename=name) >= 400
        assert _infer(url, image=name if name.startswith("/") else "/etc/passwd") >= 400
    made.mkdir()
    (made / "sitecustomize.py").write_text(f"open({str(made / 'ran')!r}, 'w')")
    body = json.dumps({"bundle_path": str(made)}).encode()
    for task in ("train/unknown", "batch/infer/unknown", "scoring/unknown"):
        _ask(url, "POST", f"/{task}", body, Content_Type="application/json")
    time.sleep(2)  # a background process would have started
    assert not (made / "ran").exists()
