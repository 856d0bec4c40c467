"""Deployment: systemd unit, Dockerfile, `worker check`, full disk, damaged queue, stop, Orthanc's routing."""

import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from pacs_helpers import (
    IDENTITY,
    NEEDS_ORTHANC,
    ROOT,
    SC,
    SR,
    Orthanc,
    Proxy,
    Worker,
    free_port,
    images,
    of,
    queue_of,
    wait_for_answers,
    wait_until,
)
from pydicom import dcmread
from pydicom.uid import generate_uid

from covid_monai.pacs.storing import STORE_HEADERS, file_of, store_message

pytestmark = [pytest.mark.slow, NEEDS_ORTHANC]
DEPLOY = ROOT / "deploy" / "worker"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd's own check of units")
def test_the_unit_passes_systemds_check_and_gives_the_service_few_rights(tmp_path):
    text = (DEPLOY / "covid-monai-worker.service").read_text()
    unit = tmp_path / "covid-monai-worker.service"
    unit.write_text(text.replace("/opt/covid-monai/.venv/bin/covid-monai", shutil.which("true")))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    rating = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--threshold=20",
        unit,
    ]  # 20: exposure 2.0 of 10
    assert subprocess.run(rating, capture_output=True, timeout=60).returncode == 0


def test_the_image_is_built_from_what_the_package_needs(tmp_path):
    """The Dockerfile's own COPY lines into a folder, then a build of the package there."""
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        match line.split():
            case ["COPY", *sources, target]:
                for source in sources:
                    copy_of = shutil.copytree if (ROOT / source).is_dir() else shutil.copy2
                    copy_of(ROOT / source, tmp_path / (target if target != "./" else Path(source).name))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, tmp_path, "--wheel-dir", tmp_path / "wheels"], check=True, timeout=120)
    assert list((tmp_path / "wheels").glob("covid_monai-*.whl"))


def test_the_check_says_what_is_wrong_and_changes_nothing(orthanc, tmp_path):
    orthanc.send(images(tmp_path / "images", 2))
    good = Worker(tmp_path / "good", of(orthanc)).command("check")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "fetching works" in good.stdout
    assert "storing (STOW-RS) is allowed" in good.stdout
    assert len(orthanc.get("/instances")) == 2
    gone = Worker(tmp_path / "gone", of("http://127.0.0.1:9")).command("check")
    assert gone.returncode == 1
    assert "FAIL  Archive main: Orthanc's change feed" in gone.stdout
    assert "there is no connection" in gone.stdout
    as_json = Worker(tmp_path / "gone", of("http://127.0.0.1:9")).command("check", "--json")
    document = json.loads(as_json.stdout)
    assert as_json.returncode == 1
    assert document["ready"] is False
    assert any(f["result"] == "FAIL" and "there is no connection" in f["text"] for f in document["findings"])
    proxy = Proxy(orthanc.url)
    proxy.spoil = lambda handler: handler.command == "POST" and (handler.answer(403) or True)
    forbidden = Worker(tmp_path / "forbidden", of(proxy)).command("check")
    assert forbidden.returncode == 1
    assert "storing (STOW-RS) fails" in forbidden.stdout
    assert "Give the account the right" in forbidden.stdout
    assert IDENTITY["PatientID"] not in good.stdout + forbidden.stdout
    proxy.close()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_delays_jobs_and_loses_none(orthanc, started, tmp_path, small_disk):
    worker = started(of(orthanc), state_dir=str(small_disk / "state"))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        file.writelines(bytes(4096) for _ in range(10_000))
    sent = images(tmp_path / "images", 4)
    orthanc.send(sent)
    wait_until(lambda: worker.health()["storage_failure"], seconds=60, what="notice of the full disk")
    assert worker.health()["status"] == "failing"
    assert worker.metric("storage_failing") == 1
    assert "storage_failing" in worker.log.read_text()
    filler.unlink()
    wait_for_answers(orthanc, len(sent), seconds=90)
    wait_until(lambda: worker.health()["status"] == "ok", seconds=30)
    assert worker.stop() == 0
    assert queue_of(worker).dead_letters() == []
    worker.assert_names_nobody()


def test_with_a_damaged_queue_the_worker_starts_only_after_set_aside(orthanc, tmp_path):
    sent = images(tmp_path / "images", 2)
    orthanc.send(sent)
    worker = Worker(tmp_path / "worker", of(orthanc, start="now"))
    worker.state.mkdir()
    (worker.state / "queue.sqlite").write_bytes(b"no database at all " * 1000)
    done = worker.command()
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert "set-aside" in done.stderr
    assert worker.command("set-aside").returncode == 0
    (kept,) = worker.state.glob("queue.2*.sqlite")
    assert kept.read_bytes() == b"no database at all " * 1000
    try:
        worker.start()
        wait_for_answers(orthanc, len(sent), seconds=90)  # from the start of the feed, whatever `start` says
    finally:
        worker.end()


def test_a_stop_during_a_fetch_takes_no_longer_than_stop_seconds(orthanc, started, tmp_path):
    proxy = Proxy(orthanc.url)
    held = threading.Event()
    proxy.spoil = lambda handler: "/dicom-web/" in handler.path and (held.wait(60) or True)
    worker = started(of(proxy, timeout_seconds=60), limits={"stop_seconds": 2})
    orthanc.send(images(tmp_path / "images", 1))
    wait_until(lambda: any("/dicom-web/" in path for _, path in proxy.seen), seconds=60)
    begin = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - begin < 15
    held.set()
    proxy.close()


def stow(orthanc, ds):
    """Store an object by DICOMweb, as the worker does."""
    request = urllib.request.Request(
        f"{orthanc.url}/dicom-web/studies", data=store_message([file_of(ds)]), headers=STORE_HEADERS
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200


def claiming(path, sop_class=None):
    """An object that claims to be a result of ours, under a new UID."""
    ds = dcmread(path)
    ds.ManufacturerModelName = "covid-monai results"
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class or ds.SOPClassUID
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return ds


def test_the_routing_rule_forwards_what_the_worker_stores_and_nothing_else(tmp_path):
    """Each of two archives forwards to the other: what claims to be a result comes by every way."""
    example = json.loads((DEPLOY / "orthanc.json").read_text())
    kept = {key: example[key] for key in ("OverwriteInstances", "DicomWeb")}
    rule = str(DEPLOY / "forward.lua")
    port = free_port()  # of the first archive, which starts last
    back = {"pacs": {"AET": "ORTHANC", "Host": "127.0.0.1", "Port": port}}
    pacs = Orthanc(tmp_path / "pacs", DicomAet="PACS", LuaScripts=[rule], DicomModalities=back, **kept)
    there = {"pacs": {"AET": "PACS", "Host": "127.0.0.1", "Port": pacs.dimse}}
    orthanc = Orthanc(tmp_path / "orthanc", LuaScripts=[rule], DicomModalities=there, DicomPort=port, **kept)
    orthanc.dimse = port
    (image,) = images(tmp_path / "images", 1)
    by_dimse = [claiming(image), claiming(image, SC), claiming(image, SR)]
    files = [tmp_path / f"{number}.dcm" for number in range(len(by_dimse))]
    for ds, path in zip(by_dimse, files, strict=True):
        ds.save_as(path)
    result = claiming(image, SC)
    try:
        orthanc.send([image, *files])
        orthanc.get("/instances", data=file_of(claiming(image, SC)), method="POST")
        stow(orthanc, claiming(image))  # an image, although it claims to be a result
        unclaimed = claiming(image, SC)
        unclaimed.ManufacturerModelName = "Scanner'); os.execute('touch x"
        stow(orthanc, unclaimed)
        stow(orthanc, result)
        wait_until(lambda: pacs.get("/instances"), seconds=30, what="a forwarded result")
        pacs.get("/modalities/pacs/store", data=json.dumps(pacs.get("/instances")).encode(), method="POST")
        assert len(orthanc.get("/instances")) == 8
        assert len(orthanc.get("/jobs")) == 1
        uids = [found["MainDicomTags"]["SOPInstanceUID"] for found in pacs.find()]
        assert uids == [str(result.SOPInstanceUID)]
    finally:
        orthanc.stop()
        pacs.stop()
