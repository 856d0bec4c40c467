"""The worker beside a real Orthanc: images that come by DIMSE get results, whatever fails meanwhile.

COVID_MONAI_WORKER_SOAK=1 runs the long form: 500 images, 20 kills, 2 stops of the archive, a minute of 503.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import time
from collections import Counter

import numpy as np
import pytest
from dicom_helpers import lut_item
from pacs_helpers import (
    NEEDS_ORTHANC,
    SC,
    SR,
    Orthanc,
    Proxy,
    class_of,
    images,
    ineligible,
    memory_mib,
    of,
    queue_of,
    wait_for_answers,
    wait_until,
)
from pydicom import dcmread
from pydicom.uid import generate_uid

pytestmark = [pytest.mark.slow, NEEDS_ORTHANC]
SOAK = bool(os.environ.get("COVID_MONAI_WORKER_SOAK"))
IMAGES, KILLS, SECONDS_BUSY = (500, 20, 60) if SOAK else (30, 4, 10)


def answers(orthanc, tmp_path):
    """SOP class and source of each result, read from the result's own references."""
    found = Counter()
    folder = tmp_path / "fetched"
    folder.mkdir(exist_ok=True)
    for instance in orthanc.results():
        ds = dcmread(orthanc.file(instance["ID"], folder / f"{instance['ID']}.dcm"))
        found[str(ds.SOPClassUID), _source(ds)] += 1
    return found


def _source(ds):
    """The one CR or DX image that a result refers to."""
    referred = {
        str(element.value) for element in ds.iterall() if element.keyword == "ReferencedSOPInstanceUID"
    }
    assert len(referred) == 1, referred
    return referred.pop()


def uids(files):
    return [str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files]


def test_results_are_in_the_study_within_seconds_and_a_second_run_adds_none(orthanc, started, tmp_path):
    worker = started(of(orthanc), rules={"ae_titles": ["CR*"]})
    sent = images(tmp_path / "images", 6)
    seconds = []
    for path in sent:
        orthanc.send([path])
        begin = time.monotonic()
        study = str(dcmread(path).StudyInstanceUID)
        wait_until(
            lambda study=study: (
                {SR, SC} <= {class_of(orthanc, one) for one in orthanc.find(StudyInstanceUID=study)}
            ),
            seconds=60,
        )
        seconds.append(time.monotonic() - begin)
    assert statistics.median(seconds) < 5, seconds
    print("seconds from storescu's end to results:", [round(value, 2) for value in seconds])
    assert_found_by_findscu(orthanc, study)
    assert_valid(orthanc, tmp_path)
    assert worker.stop() == 0
    before = {found["ID"] for found in orthanc.results()}
    shutil.rmtree(worker.state)  # even a service that has forgotten everything
    worker.start()
    wait_until(lambda: worker.metric("answered_total") == len(sent), seconds=90)
    assert {found["ID"] for found in orthanc.results()} == before
    worker.assert_names_nobody(worker.metrics(), str(worker.health()))


def test_each_object_of_the_archive_has_an_audit_line_and_only_results_are_known_by_their_uids(
    orthanc, started, tmp_path
):
    """With rules that take everything, and once more with a worker that has forgotten all."""
    everything = {"modalities": ["*"], "sop_classes": ["*"], "body_parts": [], "views": []}
    audit = {"file": str(tmp_path / "audit.jsonl"), "identifiers": "plain"}
    worker = started(of(orthanc), rules=everything, audit=audit)
    (stranger,) = images(tmp_path / "images", 1)
    ds = dcmread(stranger)
    ds.ManufacturerModelName = "covid-monai results"
    ds.save_as(stranger)
    orthanc.send([stranger, *ineligible(tmp_path / "others")])

    def events():
        lines = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
        return {line["instance"]: (line["event"], line.get("reason")) for line in lines if "instance" in line}

    def uids_in_archive():
        return {found["MainDicomTags"]["SOPInstanceUID"] for found in orthanc.find()}

    wait_until(lambda: len(orthanc.results()) > 1 and set(events()) == uids_in_archive(), seconds=120)
    assert events()[str(ds.SOPInstanceUID)] == ("answered", None)
    results = uids_in_archive() - set(uids([stranger, *(tmp_path / "others").iterdir()]))
    assert results
    assert {events()[uid] for uid in results} == {("skipped", "own_result")}
    assert worker.stop() == 0
    shutil.rmtree(worker.state)
    (tmp_path / "audit.jsonl").unlink()
    worker.start()
    wait_until(lambda: set(events()) == uids_in_archive(), seconds=120)
    assert {events()[uid] for uid in results} == {("skipped", "own_result")}
    assert worker.stop() == 0
    assert len(events()) == len(results) + 5  # the stranger's image and the four others


def test_tables_with_a_negative_first_input_stop_no_result(orthanc, started, tmp_path):
    worker = started(of(orthanc))
    sent = images(tmp_path / "images", 3)
    for path, keyword in zip(sent, ("VOILUTSequence", "ModalityLUTSequence"), strict=False):
        ds = dcmread(path)
        half = 2 ** (int(ds.BitsStored) - 1)
        ds.PixelData = (ds.pixel_array.astype(int) - half).astype(np.int16).tobytes()
        ds.BitsAllocated, ds.PixelRepresentation = 16, 1
        for dropped in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "RescaleType"):
            ds.pop(dropped, None)
        setattr(ds, keyword, [lut_item(np.arange(2 * half), first=-half, bits=int(ds.BitsStored))])
        ds[keyword][0].ModalityLUTType = "US"
        ds.save_as(path)
    orthanc.send(sent)
    wait_for_answers(orthanc, len(sent), seconds=90)
    wait_until(lambda: worker.metric("answered_total") == len(sent), seconds=60)
    assert worker.stop() == 0
    assert queue_of(worker).dead_letters() == []
    by_source = Counter(source for _, source in answers(orthanc, tmp_path).elements())
    assert len(set(by_source.values())) == 1, "as many objects of each image"
    assert_valid(orthanc, tmp_path)


def assert_found_by_findscu(orthanc, study):
    command = [
        "findscu",
        "-S",
        "-aec",
        "ORTHANC",
        "127.0.0.1",
        str(orthanc.dimse),
        "-k",
        "QueryRetrieveLevel=SERIES",
    ]
    command += ["-k", f"StudyInstanceUID={study}", "-k", "Modality", "-k", "SeriesDescription"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    output = done.stdout + done.stderr
    assert "[SR]" in output
    assert "covid-monai heat map" in output


def assert_valid(orthanc, tmp_path):
    for instance in orthanc.results():
        path = orthanc.file(instance["ID"], tmp_path / "result.dcm")
        output = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert not [line for line in output.splitlines() if line.startswith("Error")], output


def test_each_image_gets_its_results_once_although_worker_and_archive_stop_again_and_again(
    orthanc, started, tmp_path
):
    eligible = images(tmp_path / "images", IMAGES)
    others = ineligible(tmp_path / "others", IMAGES // 10)
    mixed = eligible + others
    random.Random(0).shuffle(mixed)
    moments = random.Random(1)
    worker = started(of(orthanc, connections=2))
    share = -(-len(mixed) // (KILLS + 1))
    for kill in range(KILLS + 1):
        orthanc.send(mixed[kill * share : (kill + 1) * share])
        if kill == KILLS:
            break
        time.sleep(moments.uniform(0, 12))  # the moment is the matter of this test, not a wait
        worker.kill()
        if kill in (KILLS // 3, 2 * KILLS // 3):
            worker.start()
            orthanc.stop()
            wait_until(
                lambda: worker.metric("archive_up") == 0, seconds=60, what="notice of the archive's end"
            )
            orthanc.start()
        else:
            worker.start(ready=moments.random() < 0.8)  # sometimes killed while it starts
    wait_until(lambda: worker.health(), seconds=120)
    wait_until(
        lambda: worker.metric("queue_jobs") == 0 and len(orthanc.find(SOPClassUID=SR)) >= IMAGES,
        seconds=60 + 6 * IMAGES, every=1, what="the queue's end",
    )  # fmt: skip
    metrics = worker.metrics()
    assert worker.stop() == 0
    assert queue_of(worker).dead_letters() == []
    found = answers(orthanc, tmp_path)
    assert {key: number for key, number in found.items() if key[0] in (SR, SC)} == {
        (kind, uid): 1 for uid in uids(eligible) for kind in (SR, SC)
    }
    assert set(found.values()) == {1}
    assert {source for _, source in found} == set(uids(eligible))
    worker.assert_names_nobody(metrics)


def test_results_arrive_in_the_end_although_the_archive_is_busy_refuses_breaks_off_or_lies(
    orthanc, started, tmp_path
):
    proxy = Proxy(orthanc.url)
    spoiled = Counter()

    def spoil(handler):
        kind, reply = plan.get("all") or plan.get(handler.command) or (None, None)
        if kind is None or (kind == "cut" and "/instances/" not in handler.path):
            return False
        spoiled[kind] += 1
        reply(handler)
        return True

    plan = {"all": ("503", lambda handler: handler.answer(503))}
    proxy.spoil = spoil
    worker = started(
        of(proxy, timeout_seconds=2, username="worker", password_env="ARCHIVE_PASSWORD"), ready=False
    )
    worker.end()
    os.environ["ARCHIVE_PASSWORD"] = "planted-secret"
    try:
        worker.start()
    finally:
        del os.environ["ARCHIVE_PASSWORD"]
    orthanc.send(images(tmp_path / "images", 8))
    wait_until(lambda: spoiled["503"] >= 3, seconds=60)
    assert worker.health()["status"] == "degraded"
    end_of_busy = time.monotonic() + SECONDS_BUSY
    wait_until(lambda: time.monotonic() > end_of_busy, seconds=2 * SECONDS_BUSY, every=1)
    assert worker.metric("queue_jobs") in (0, 8)  # 0: the change feed is as busy as the rest
    steps = {
        "401": {"GET": ("401", lambda handler: handler.answer(401))},
        "cut": {"GET": ("cut", lambda handler: handler.forward(cut=5000))},
        "slow": {"GET": ("slow", lambda _: time.sleep(3))},
        "507": {"POST": ("507", lambda handler: handler.answer(507))},
        "lie": {"POST": ("lie", lambda handler: handler.answer(200, b"{}", kind="application/dicom+json"))},
    }
    for name, step in steps.items():
        plan.clear()
        plan.update(step)
        wait_until(lambda name=name: spoiled[name] >= 2, seconds=60, what=name)
    plan.clear()
    wait_for_answers(orthanc, 8, seconds=90)
    wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=60)
    assert worker.metric("dead_letters") == 0
    assert "planted-secret" not in worker.log.read_text() + worker.metrics()
    worker.assert_names_nobody(worker.metrics(), str(worker.health()))
    proxy.close()


def test_an_unavailable_archive_does_not_stop_another_that_is_searched_by_qido(orthanc, started, tmp_path):
    nowhere = {"name": "gone", "source": "orthanc", "url": "http://127.0.0.1:9", "start": "beginning"}
    polled = {
        **{"name": "polled", "source": "dicomweb", "url": f"{orthanc.url}/dicom-web"},
        **{"poll_seconds": 0.5, "full_search_seconds": 0.5, "days": 3650},
    }
    worker = started(nowhere, polled, limits={"keep_days": 3651, "longest_wait_seconds": 2})
    orthanc.send(images(tmp_path / "images", 5) + ineligible(tmp_path / "others", 4))
    wait_for_answers(orthanc, 5, seconds=90)
    wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=60)
    health = worker.health()
    assert health["archives"]["polled"]["up"]
    assert not health["archives"]["gone"]["up"]
    assert health["status"] == "degraded"
    refused = [line["reason"] for line in worker.audit() if line["event"] == "refused"]
    assert sorted(refused) == ["body_parts", "views"]  # the others the search itself leaves out
    seen = len(worker.audit())
    time_of_two_more_looks = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > time_of_two_more_looks, seconds=5)
    assert len(worker.audit()) == seen
    worker.assert_names_nobody(worker.metrics())


def test_a_refused_image_gets_an_audit_line_and_a_report_only_on_request(orthanc, started, tmp_path):
    (path,) = images(tmp_path / "images", 1)
    ds = dcmread(path)
    ds.PixelData = bytes(len(ds.PixelData))  # blank
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.save_as(path)
    orthanc.send([path])
    worker = started(of(orthanc))
    wait_until(lambda: len(worker.audit()) > 1, seconds=60)
    rules, line = worker.audit()
    assert rules["event"] == "images_selected"
    assert (line["event"], line["reason"], line["by"]) == ("refused", "blank", "classifier")
    assert orthanc.results() == []
    assert worker.stop() == 0
    asked = started(of(orthanc), name="asked", results={"report_refused": True})
    wait_until(lambda: len(asked.audit()) > 1, seconds=60)
    assert [class_of(orthanc, found) for found in orthanc.results()] == [SR]


def test_with_start_now_images_that_come_while_the_worker_connects_are_answered(orthanc, started, tmp_path):
    """Not reachable at first, then stopped and started again: what came before the first start is skipped."""
    old, new, later = (
        images(tmp_path / name, count, seed=count) for name, count in zip("abc", (5, 3, 2), strict=True)
    )
    orthanc.send(old)
    time.sleep(4)  # Orthanc's times are whole seconds
    proxy = Proxy(orthanc.url)
    proxy.spoil = lambda handler: handler.answer(503) or True
    worker = started(of(proxy, start="now"))
    wait_until(lambda: worker.metric("archive_up") == 0, seconds=60)
    orthanc.send(new)
    worker.kill()
    worker.start()
    orthanc.send(later)
    proxy.spoil = lambda _: False
    wait_for_answers(orthanc, 5, seconds=90)
    wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=60)
    assert {source for _, source in answers(orthanc, tmp_path)} == set(uids(new + later))
    assert worker.metric("skipped_total", archive="main", reason="before_start") == len(old)
    assert '"event": "images_skipped"' in worker.log.read_text()
    assert worker.stop() == 0
    more = images(tmp_path / "d", 1, seed=9)
    orthanc.send(more)  # while it is down
    worker.start()
    wait_for_answers(orthanc, 6, seconds=90)
    assert worker.metric("skipped_total", reason="before_start") == 0
    proxy.close()


def test_an_administrator_sees_what_the_worker_does_and_repairs_it_without_a_wait(orthanc, started, tmp_path):
    proxy = Proxy(orthanc.url)
    proxy.spoil = lambda handler: "/dicom-web/" in handler.path and (handler.answer(503) or True)
    worker = started(of(proxy), limits={"longest_wait_seconds": 3600, "attempts": 2})
    (sent,), (lateral, *_) = images(tmp_path / "images", 1), ineligible(tmp_path / "others")
    orthanc.send([sent, lateral])
    wait_until(lambda: worker.metric("failures_total") >= 3, seconds=120, what="failures")
    status = worker.command("status")
    assert status.returncode == 1
    assert "has run since" in status.stdout
    assert "FAIL  Archive main is unavailable since" in status.stdout
    assert "http_503. The archive is too busy" in status.stdout
    assert "1 image waiting" in status.stdout
    source, other = uids([sent, lateral])
    waiting = json.loads(worker.command("explain", source, "--json").stdout)["images"][0]
    assert waiting["state"] in ("waiting", "in_work")
    assert "Reason: views. The rules do not select the image" in worker.command("explain", other).stdout
    proxy.spoil = lambda _: False
    begin = time.monotonic()
    retried = worker.command("retry-now")
    assert (retried.returncode, "within seconds" in retried.stdout) == (0, True)
    wait_for_answers(orthanc, 1, seconds=60)
    wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=30)
    print("seconds from retry-now to the results:", round(time.monotonic() - begin, 1))
    status = worker.command("status")
    assert (status.returncode, "ok    Archive main answers." in status.stdout) == (0, True), status.stdout
    study = str(dcmread(sent, stop_before_pixels=True).StudyInstanceUID)
    explained = worker.command("explain", study)
    assert explained.returncode == 0
    assert f"Object {source} in archive main, job 1\n  It was answered" in explained.stdout
    made = [found["MainDicomTags"]["SOPInstanceUID"] for found in orthanc.results()]
    assert made
    for uid in made:
        assert f"Result {uid}" in explained.stdout
        assert f"Object {source}" in worker.command("explain", uid).stdout
    outputs = [one.stdout + one.stderr for one in (status, explained, retried)]
    worker.assert_names_nobody(*outputs, worker.command("status", "--json").stdout)
    proxy.close()


@pytest.fixture
def small_storage(tmp_path):
    """A disk of 32 MiB for Orthanc's objects; its index is elsewhere."""
    folder = tmp_path / "storage"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def full(folder):
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        file.writelines(bytes(4096) for _ in range(10_000))
    return filler


@pytest.mark.parametrize("answer", ["orthanc", "0110", "0110 409", "a700", "xml"])
def test_an_archive_with_a_full_disk_costs_no_image(small_storage, started, tmp_path, answer):
    """Orthanc 1.10 answers with two empty sequences, others with Failure Reason 0110, some with A700."""
    orthanc = Orthanc(
        tmp_path / "full", StorageDirectory=str(small_storage), IndexDirectory=str(tmp_path / "index")
    )
    proxy = Proxy(orthanc.url)
    sent = images(tmp_path / "images", 6)
    for path in sent[::2]:  # refused, and so answered while nothing can be stored
        ds = dcmread(path)
        ds.PixelData = bytes(len(ds.PixelData))
        ds.save_as(path)
    orthanc.send(sent)
    filler = full(small_storage)
    posts = []

    def spoil(handler):
        if handler.command != "POST" or not filler.exists():
            return False
        posts.append(time.monotonic())
        if answer == "orthanc":
            return False
        reason, _, status = answer.partition(" ")
        item = (
            {"00081155": {"vr": "UI", "Value": ["1.2"]}, "00081197": {"vr": "US", "Value": [int(reason, 16)]}}
            if reason != "xml"
            else {}
        )
        body = json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()
        kind = "application/dicom+json; charset=utf-8"
        if reason == "xml":
            body, kind = XML_0110, "application/dicom+xml"
        handler.answer(int(status or 200), body, kind=kind)
        return True

    proxy.spoil = spoil
    worker = started(of(proxy, poll_seconds=0.5), limits={"attempts": 2, "longest_wait_seconds": 1})
    try:
        wait_until(lambda: len(posts) >= 12, seconds=90, what="tries")
        assert worker.metric("dead_letters") == 0
        if answer != "a700":  # which holds the whole queue until the archive has room
            wait_until(lambda: worker.metric("refused_total", reason="blank") == 3, seconds=30)
        assert worker.metric("queue_jobs") >= 3
        assert worker.health()["status"] == "degraded"
        assert worker.health()["archives"]["main"]["failure"].startswith("store_")
        filler.unlink()
        wait_for_answers(orthanc, 3, seconds=90)
        wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=60)
        wait_until(lambda: worker.health()["status"] == "ok", seconds=30)
        assert worker.metric("dead_letters") == 0
        worker.assert_names_nobody(worker.metrics())
    finally:
        worker.end()
        orthanc.stop()
        proxy.close()


def test_an_archive_without_its_storage_costs_no_image(orthanc, started, tmp_path):
    """The index answers, and no file can be read, as when a disk is not mounted."""
    orthanc.send(images(tmp_path / "images", 4))
    orthanc.stop()  # it keeps files in memory
    storage, unmounted = orthanc.folder / "storage", tmp_path / "unmounted"
    unmounted.mkdir()
    folders = [path for path in storage.iterdir() if path.is_dir()]
    for path in folders:
        path.rename(unmounted / path.name)
    orthanc.start()
    worker = started(of(orthanc), limits={"attempts": 2, "longest_wait_seconds": 1})
    wait_until(lambda: worker.metric("failures_total") >= 20, seconds=60, what="tries")
    assert (worker.metric("queue_jobs"), worker.metric("dead_letters")) == (4, 0)
    assert worker.metric("skipped_total") == 0
    for path in folders:
        shutil.copytree(unmounted / path.name, path, dirs_exist_ok=True)
    wait_for_answers(orthanc, 4, seconds=90)
    wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=60)
    assert worker.metric("dead_letters") == 0


def test_files_that_cannot_be_removed_keep_no_image_from_its_answer(orthanc, started, tmp_path):
    worker = started(of(orthanc))
    spool = worker.state / "spool"
    if subprocess.run(["chattr", "+a", spool], check=False).returncode:
        pytest.skip("an append-only folder needs root and a file system that has them")
    try:
        orthanc.send(images(tmp_path / "images", 4))
        wait_for_answers(orthanc, 4, seconds=90)
        wait_until(lambda: worker.metric("queue_jobs") == 0, seconds=60)
        assert len(list(spool.iterdir())) == 4
        assert worker.health()["storage_failure"] == "PermissionError"
        assert worker.metric("storage_failing") == 1
    finally:
        subprocess.run(["chattr", "-a", spool], check=True)
    wait_until(lambda: worker.health()["status"] == "ok", seconds=30)
    assert list(spool.iterdir()) == []


XML_0110 = b"""<?xml version="1.0"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">
<DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence"><Item number="1">
<DicomAttribute tag="00081197" vr="US" keyword="FailureReason"><Value number="1">272</Value>
</DicomAttribute></Item></DicomAttribute></NativeDicomModel>"""


def test_a_thousand_jobs_wait_on_disk_and_not_in_memory(orthanc, started, tmp_path):
    """Nothing can be fetched, so work stands still; what is noticed must not grow the process."""
    proxy = Proxy(orthanc.url)
    sent = ineligible(tmp_path / "others", 1000, size=64)
    proxy.spoil = lambda handler: "/dicom-web/" in handler.path and (handler.answer(503) or True)
    worker = started(of(proxy), rules={"modalities": ["*"], "sop_classes": [], "views": [], "body_parts": []})
    before = memory_mib(worker.process)
    orthanc.send(sent)
    wait_until(lambda: worker.metric("queue_jobs") == len(sent), seconds=120)
    assert memory_mib(worker.process) - before < 50
    proxy.close()
