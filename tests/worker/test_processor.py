"""Processing of a batch: which failures count, which jobs go back to the queue, and what a stop leaves."""

import errno
import json
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from dicom_helpers import make_ds, picture, save
from prometheus_client import CollectorRegistry
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from results_helpers import classified, clock

from covid_monai.core.vocabulary import DecoderNotStarted, Status
from covid_monai.inference.prediction import Prediction
from covid_monai.pacs.connection import InstanceAddress
from covid_monai.pacs.failures import ArchiveFailure, Availability, Fault
from covid_monai.readers.sandbox import SandboxResult
from covid_monai.results import ResultObjects, write_results
from covid_monai.worker.audit import AuditTrail
from covid_monai.worker.context import Model, WorkerContext
from covid_monai.worker.monitoring import Metrics, ScoreDrift
from covid_monai.worker.processor import BatchProcessor
from covid_monai.worker.queue import JobQueue
from covid_monai.worker.retry import MAX_STARTS, RetryPolicy
from covid_monai.worker.rules import Notice
from covid_monai.worker.settings import Archive, Limits, Settings

ARCHIVE = Archive(name="a", source="orthanc", url="http://127.0.0.1:9")


class Scene:
    """A processor with a sham archive and model; the queue and the audit trail are real."""

    def __init__(self, folder):
        limits = Limits(attempts=2, longest_wait_seconds=0.1)
        settings = Settings(state_dir=folder, archives=(ARCHIVE,), limits=limits)
        self.folder, self.stop = folder, threading.Event()
        self.queue = JobQueue(folder)
        self.availability = Availability(longest_wait_s=0.1, stop=self.stop)
        registry = CollectorRegistry()
        context = WorkerContext(
            settings=settings,
            queue=self.queue,
            model=self,
            audit=AuditTrail(folder / "audit.jsonl", "plain", folder),
            metrics=Metrics(registry),
            drift=ScoreDrift(None, ()),
            stop=self.stop,
        )
        self.failures = context.failures
        self.faults, self.fetched = {}, []
        settings.spool_dir.mkdir()
        self.processor = BatchProcessor(ARCHIVE, self, self, context, RetryPolicy(limits, self.availability))
        self.queue.add("a", [_notice(number) for number in (1, 2, 3)], position=None)

    def fetch(self, address, file):
        number = int(address.sop_instance_uid.rsplit(".", 1)[1])
        self.fetched.append(number)
        if number in self.faults:
            raise ArchiveFailure(self.faults[number], "as_planned")
        file.write(b"image")

    def check(self, _path):
        return SandboxResult(Status.OK)

    def predict(self, files, _verdicts):
        model = {"weights_sha256": "0" * 64}
        probabilities = {"no": 0.25, "yes": 0.75}
        return [
            Prediction(
                file=str(file),
                status=Status.OK,
                model=model,
                predicted_class="yes",
                probabilities=probabilities,
                abnormal={"call": True},
                cause={"name": "not told"},
            )
            for file in files
        ]

    def make_results(self, _prediction, _made):
        return []

    def steps(self, count):
        for _ in range(count):
            time.sleep(0.12)  # longer than the longest pause: what was put off is due again
            self.processor.process_batch()

    def events(self):
        lines = (self.folder / "audit.jsonl").read_text().splitlines()
        return [(line["event"], line["job"], line.get("reason")) for line in map(json.loads, lines)]

    def waiting(self):
        return self.queue.count("waiting").get("a", 0)


def _write(queue, statement, values=()):
    with sqlite3.connect(queue.path) as database:
        database.execute(statement, values)


def _number(prediction):
    return int(Path(prediction.file).name.partition("-")[0])


def _result():
    ds = Dataset()
    ds.SOPInstanceUID = generate_uid()
    return ds


def _notice(number):
    return Notice(InstanceAddress("1.2", "1.3", f"1.4.{number}"))


@pytest.fixture
def scene(tmp_path):
    found = Scene(tmp_path)
    yield found
    found.queue.close()


def test_the_audit_trail_has_both_levels(scene):
    scene.steps(1)
    lines = map(json.loads, (scene.folder / "audit.jsonl").read_text().splitlines())
    assert {(line["abnormal"], line["cause"]) for line in lines} == {(True, "not told")}


def test_an_image_with_a_fault_of_its_own_becomes_a_dead_letter_and_stops_no_other(scene):
    scene.faults = {2: Fault.OBJECT}
    scene.steps(3)
    assert scene.events() == [
        ("answered", 1, None),
        ("answered", 3, None),
        ("dead_letter", 2, "as_planned"),
    ]
    assert scene.fetched.count(2) == 2
    assert scene.waiting() == 0
    assert [job.number for job in scene.queue.dead_letters()] == [2]


@pytest.mark.slow
def test_an_unavailable_archive_costs_no_attempt(scene):
    scene.faults = dict.fromkeys((1, 2, 3), Fault.ARCHIVE)
    scene.steps(8)
    assert scene.waiting() == 3
    assert scene.availability.failure_reason
    assert set(scene.fetched) == {1}  # in order: the first tells that the archive is down
    scene.faults = {}
    scene.steps(1)
    assert [event[:2] for event in scene.events()] == [("answered", number) for number in (1, 2, 3)]
    assert scene.availability.failure_reason is None


@pytest.mark.slow
def test_an_unclear_failure_counts_once_other_images_have_succeeded(scene):
    scene.faults = dict.fromkeys((1, 2, 3), Fault.UNCLEAR)
    scene.steps(9)
    assert scene.waiting() == 3  # nobody has succeeded: it may be the archive
    scene.faults = {1: Fault.UNCLEAR}
    scene.steps(8)
    assert scene.waiting() == 1  # the others prove one failure, the second failure needs another proof
    scene.queue.add("a", [_notice(4)], position=None)
    scene.steps(4)
    assert [job.number for job in scene.queue.dead_letters()] == [1]
    assert sorted(event[:2] for event in scene.events()) == [
        ("answered", 2),
        ("answered", 3),
        ("answered", 4),
        ("dead_letter", 1),
    ]


@pytest.mark.slow
def test_an_archive_that_cannot_store_costs_no_image_although_others_are_refused(scene):
    """As a full disk behind an archive that can still send: Failure Reason 0110 (processing failure)."""

    def store(_objects):
        raise ArchiveFailure(Fault.UNCLEAR, "store_failed_0110")

    scene.make_results = lambda prediction, _made: [_result()] if _number(prediction) % 2 else []
    scene.store, scene.confirm = store, lambda *_, **__: None
    scene.queue.add("a", [_notice(number) for number in range(4, 9)], position=None)
    scene.steps(25)
    assert [event for event, *_ in scene.events()] == ["answered"] * 4  # those without results
    assert scene.waiting() == 4
    assert scene.availability.failure_reason == "store_failed_0110"
    scene.store = lambda _objects: None
    scene.steps(6)
    assert scene.waiting() == 0
    assert scene.queue.dead_letters() == []
    assert scene.availability.failure_reason is None


def test_a_decoder_that_cannot_start_costs_no_image(scene):
    def check(_path):
        raise DecoderNotStarted("The decode process cannot be started.")

    scene.check = check
    for _ in range(5):
        with pytest.raises(DecoderNotStarted):
            scene.processor.process_batch()
    assert scene.waiting() == 3
    assert not list(scene.folder.rglob("*.dcm"))
    assert scene.failures.of_decoder() == "decoder_cannot_start"
    assert scene.failures.of_storage() is None
    del scene.check
    scene.steps(1)
    assert scene.failures.of_decoder() is None
    assert {event[:2] for event in scene.events()} == {("answered", number) for number in (1, 2, 3)}


class _SomeObjects(Model):
    """The worker's model, whose maker of results fails."""

    def __init__(self, error):
        self._results, self._lock, self._report_refused = self, threading.Lock(), False
        self.of = lambda *_: (_ for _ in ()).throw(error)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), DecoderNotStarted("none"), OSError(errno.ENOSPC, "full"), OSError(errno.EMFILE, "open")],
)
def test_results_that_this_machine_cannot_make_cost_no_image(scene, error):
    scene.make_results = _SomeObjects(error).make_results
    for _ in range(5):
        with pytest.raises(type(error)):
            scene.processor.process_batch()
    assert scene.waiting() == 3
    assert not scene.queue.dead_letters()
    del scene.make_results
    scene.steps(3)
    assert {event[:2] for event in scene.events()} == {("answered", number) for number in (1, 2, 3)}


@pytest.mark.parametrize("error", [ValueError("UID"), OSError("image file is truncated")])
def test_results_that_an_image_does_not_allow_are_its_own_failure(scene, error):
    scene.make_results = _SomeObjects(error).make_results
    scene.steps(3)
    assert {event for event, *_ in scene.events()} == {"dead_letter"}


@pytest.mark.parametrize("error", [PermissionError, IsADirectoryError, OSError])
def test_a_file_that_cannot_be_removed_keeps_no_job_from_the_queue(scene, monkeypatch, error):
    scene.faults = {1: Fault.UNCLEAR}  # the whole batch goes back
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(error()))
        scene.processor.process_batch()
        assert scene.failures.of_storage() == error.__name__
        scene.faults = {}
        scene.steps(3)
        assert {event[:2] for event in scene.events()} == {("answered", number) for number in (1, 2, 3)}
        assert list(scene.folder.rglob("*.dcm"))
    scene.steps(1)  # without any job
    assert not list(scene.folder.rglob("*.dcm"))
    assert scene.failures.of_storage() is None


def test_an_image_that_ends_the_process_again_and_again_is_given_up_once_others_are_finished(scene):
    _, *others = scene.queue.claim("a", 3)
    scene.queue.put_back(others)
    scene.queue._running.clear()  # as after a start
    _write(scene.queue, "UPDATE job SET starts=? WHERE number=1", (MAX_STARTS,))
    scene.queue.add("a", [_notice(4)], position=None)
    scene.steps(1)
    assert [event[:2] for event in scene.events()] == [("answered", number) for number in (2, 3, 4)]
    scene.steps(1)
    assert scene.events()[3:] == [("dead_letter", 1, "ends_the_service")]
    assert 1 not in scene.fetched


def test_no_image_is_given_up_if_the_process_ends_before_any_is_finished(scene):
    _write(scene.queue, "UPDATE job SET starts=100, first_start=0")
    scene.steps(3)
    assert {event[:2] for event in scene.events()} == {("answered", number) for number in (1, 2, 3)}


@pytest.mark.slow
def test_results_that_are_stored_again_an_hour_later_have_the_same_bytes(
    scene, classifier, tmp_path, monkeypatch
):
    image = save(make_ds(picture()), tmp_path / "image.dcm")
    results, sent = ResultObjects(classifier, pdf=True), []

    def store(objects):
        sent.append([path.read_bytes() for path in write_results(objects, tmp_path / "sent")])
        monkeypatch.setattr("datetime.datetime", clock(hours=len(sent)))  # highdicom reads it
        monkeypatch.setattr("covid_monai.worker.processor.datetime", clock(hours=len(sent)))
        if len(sent) == 1:
            raise ArchiveFailure(Fault.ARCHIVE, "answer_lost")

    scene.make_results = lambda _prediction, made: results.of(classified(classifier, image), made)
    scene.store, scene.confirm = store, lambda _objects, **_: None
    scene.steps(2)
    assert scene.waiting() == 0
    assert len(sent) == 4  # three images, the first twice
    assert sent[0] == sent[1]
    assert not set(sent[1]) & set(sent[2])


def test_a_stop_during_a_batch_leaves_its_jobs_in_the_queue_and_no_file(scene):
    scene.predict = lambda files, verdicts: (scene.stop.set(), Scene.predict(scene, files, verdicts))[1]
    scene.processor.process_batch()
    assert scene.waiting() == 3
    assert not list(scene.folder.rglob("*.dcm"))
    assert [job.starts for job in scene.queue.claim("a", 5)] == [1, 1, 1]
