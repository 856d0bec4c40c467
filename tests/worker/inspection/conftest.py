"""A queue with jobs in every state."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.queue import JobQueue
from covid_monai.worker.rules import Notice
from covid_monai.worker.settings import Settings

ARCHIVES = (
    {"name": "main", "source": "orthanc", "url": "http://127.0.0.1:9"},
    {"name": "other", "source": "dicomweb", "url": "http://127.0.0.1:19/dicom-web"},
)


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path / "state", archives=ARCHIVES, monitoring={"port": 0})


@pytest.fixture
def filled(settings):
    """Seven images of `main`: 1 done, 2 refused, 3 given up, 4 in work, 5 delayed, 6 and 7 waiting."""
    queue = JobQueue(settings.state_dir)
    addresses = [InstanceAddress(f"1.2.{n % 2}", f"1.3.{n}", f"1.4.{n}") for n in range(1, 8)]
    queue.add("main", [Notice(address) for address in addresses], position="17")
    queue.add("other", [Notice(InstanceAddress("1.2.9", "1.3.9", "1.4.9"), "views")], position=None)
    jobs = queue.claim("main", 5)
    queue.add_results(jobs[0], ["1.5.1", "1.5.2"], datetime.now(UTC))
    queue.finish(jobs[0], "done", probabilities=[0.1, 0.9])
    queue.finish(jobs[1], "refused", reason="blank")
    queue.finish(jobs[2], "dead", reason="unreadable")
    queue.postpone(jobs[4], "http_404", seconds=600, counts=False)
    yield SimpleNamespace(queue=queue, jobs=jobs, settings=settings)
    queue.close()
