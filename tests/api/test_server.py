"""`covid-monai serve` as its users meet it: a process, real files, a real archive, many clients, any input.

COVID_MONAI_REST_REQUESTS=2000 runs the long form of the requests that schemathesis makes up.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from api_helpers import COMMAND, Served
from pacs_helpers import NEEDS_ORTHANC, ROOT, WORDS_OF_IDENTITY, Orthanc, images
from PIL import Image

sys.path.insert(0, str(ROOT / "benchmarks"))

from rest_load import load

REQUESTS = int(os.environ.get("COVID_MONAI_REST_REQUESTS", "300"))
DICOM = {"Content-Type": "application/dicom"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A real one with two images; None where Orthanc is not installed."""
    if shutil.which("Orthanc") is None:
        yield None
        return
    archive = Orthanc(tmp_path_factory.mktemp("orthanc"))
    for image in images(tmp_path_factory.mktemp("archived"), 2):
        archive.get("/instances", data=image.read_bytes(), method="POST")
    yield archive
    archive.stop()


@pytest.fixture(scope="module")
def served(classifier, archive, tmp_path_factory):
    root = () if archive is None else ("--dicomweb-root", f"{archive.url}/dicom-web/")
    served = Served(tmp_path_factory.mktemp("served"), "--bundle", classifier.bundle.root, *root)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    (image,) = images(tmp_path_factory.mktemp("image"), 1)
    return image


@pytest.mark.real_data
def test_real_files_get_the_records_that_predict_writes(served, classifier, real_data):
    files = sorted((real_data / "dicom").glob("*.dcm"))[:40]
    files += sorted(real_data.glob("covid19-image-dataset/test/*/*.j*g"))[:6]
    sent = [("files", (path.name, path.read_bytes())) for path in files]
    answer = requests.post(f"{served.url}/v1/predict", files=sent, timeout=300).json()
    expected = [{**one.to_json(), "file": Path(one.file).name} for one in classifier.predict(files)]
    assert answer["predictions"] == json.loads(json.dumps(expected))
    assert {"ok", "refused"} <= {one["status"] for one in answer["predictions"]}


@NEEDS_ORTHANC
def test_images_come_out_of_a_real_archive_by_address_and_by_what_qido_answers(served, archive):
    found = requests.get(f"{archive.url}/dicom-web/instances", timeout=60)
    headers = {"Content-Type": "application/dicom+json"}
    answer = requests.post(f"{served.url}/v1/predict", data=found.content, headers=headers, timeout=60)
    records = answer.json()["predictions"]
    assert [one["status"] for one in records] == ["ok", "ok"], answer.text
    for record in records:
        (alone,) = _by_address(served, record["file"]).json()["predictions"]
        assert alone == record
    report = requests.post(f"{served.url}/v1/report", json={"dicomweb_url": records[0]["file"]}, timeout=60)
    assert report.content.startswith(b"%PDF")


@NEEDS_ORTHANC
def test_no_address_leads_anywhere_but_to_instances_of_the_archive(served, archive):
    instance = "studies/1.2/series/1.2.3/instances/1.2.3.4"
    root = f"{archive.url}/dicom-web"
    elsewhere = (
        f"http://169.254.169.254/{instance}",
        f"{archive.url}/{instance}",
        f"{root}x/{instance}",
        f"{root}/../system/{instance}",
        f"{root}@evil.example/{instance}",
        f"{root}.evil.example/dicom-web/{instance}",
        root.replace("http://", "http://evil@") + f"/{instance}",
        f"{root}/{instance}/../../../../../../../system",
        f"{root}/{instance}\n",
    )
    for address in elsewhere:
        assert _by_address(served, address).status_code in (403, 422), address
    missing = _by_address(served, f"{root}/{instance}")
    assert (missing.status_code, missing.json()["type"]) == (502, "/problems/archive")
    assert "http_404" in missing.json()["detail"]


def _by_address(served, address):
    return requests.post(f"{served.url}/v1/predict", json={"dicomweb_url": address}, timeout=60)


def test_fifty_clients_at_once_all_get_their_answer(served, image):
    found = load(served.url, [image.read_bytes()], clients=50, requests_each=3)
    print(found)
    assert (found["requests"], found["errors"]) == (150, 0)


def test_every_answer_to_any_request_is_as_described(served, tmp_path):
    """Schemathesis with all its checks; each round draws anew until there were enough requests."""
    sent, seed = 0, 0
    while sent < REQUESTS:
        seed += 1
        done = subprocess.run(
            [
                *(COMMAND.parent / "schemathesis", "run", f"{served.url}/openapi.json", "--no-color"),
                *("--seed", str(seed), "--request-timeout", "60"),
                *("--max-examples", str(min(REQUESTS // 3, 300))),
                *(("--phases", "fuzzing") if seed > 1 else ()),
            ],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout[:5000]
        sent += int(re.search(r"(\d+) generated", done.stdout)[1])
    print(f"{sent} requests in {seed} rounds")
    assert requests.get(f"{served.url}/health/ready", timeout=10).ok


def test_the_examples_of_the_document_work_as_they_stand(served, image, tmp_path):
    shutil.copy(image, tmp_path / "image.dcm")
    Image.effect_noise((200, 200), 60).save(tmp_path / "image.png")
    document = (ROOT / "docs" / "rest.md").read_text().replace("http://127.0.0.1:8080", served.url)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", document, flags=re.MULTILINE | re.DOTALL)
    runnable = [
        (kind, block)
        for kind, block in blocks
        if not re.search(r"pip install|covid-monai (serve|app)|pacs\.example|:8081|^map ", block)
    ]
    assert len(runnable) >= 5
    for kind, block in runnable:
        command = ["bash", "-ec", block] if kind == "bash" else [sys.executable, "-c", block]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, block + done.stderr
        assert '"status":"ok"' in done.stdout or '"status"' not in done.stdout or "415" in done.stdout, block
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert all((tmp_path / name).read_bytes()[128:132] == b"DICM" for name in ("report.dcm", "heatmap.dcm"))


def test_the_log_of_all_this_names_nobody_and_the_service_stops_in_order(served, image):
    requests.post(f"{served.url}/v1/predict", files={"files": ("Florence.dcm", image.open("rb"))}, timeout=60)
    slow = subprocess.Popen(
        [sys.executable, "-c", _SLOW_CLIENT, served.url, image], stdout=subprocess.PIPE, text=True
    )
    assert slow.stdout.readline() == "half\n"
    assert served.stop(signal.SIGTERM) == 0
    assert slow.communicate(timeout=30)[0].strip() == "200"
    log = served.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert lines[-1]["status"] == 200
    assert not [line for line in lines if line["level"] == "error"]
    assert not [word for word in (*WORDS_OF_IDENTITY, "image.dcm", ".0.1:") if word in log]


_SLOW_CLIENT = """
import sys, time, requests
content = open(sys.argv[2], "rb").read()
def pieces():
    yield content[:1000]
    print("half", flush=True)
    time.sleep(2)
    yield content[1000:]
headers = {"Content-Type": "application/dicom"}
answer = requests.post(f"{sys.argv[1]}/v1/predict", data=pieces(), headers=headers)
print(answer.status_code)
"""


def test_wrong_usage_is_one_line_that_says_what_to_do(served):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    port = served.url.rsplit(":", 1)[1]
    for arguments, words in (
        (("--host", "192.0.2.1", "--port", port), "--host"),
        (("--dicomweb-root", "ftp://x"), "full address"),
        (("--bundle", "/nowhere"), "/nowhere"),
    ):
        done = subprocess.run(
            [COMMAND, "serve", *arguments], capture_output=True, text=True, timeout=120, env=environment
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert words in done.stderr
