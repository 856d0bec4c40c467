"""Files of the queue: one worker at a time; a damaged file is reported and kept."""

import sqlite3

import pytest

from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.queue import JobQueue
from covid_monai.worker.queue_file import QueueError, lock_state_dir, queue_path, set_queue_aside
from covid_monai.worker.rules import Notice


def test_a_second_worker_is_refused(tmp_path):
    refused = pytest.raises(QueueError, match="Another worker uses the folder")
    with lock_state_dir(tmp_path), refused, lock_state_dir(tmp_path):
        pass


@pytest.mark.parametrize("damage", ["no database", "a page"])
def test_a_damaged_queue_is_an_error_and_kept(tmp_path, damage):
    queue = JobQueue(tmp_path)
    notices = [Notice(InstanceAddress("1.2", "1.3", f"1.4.{number}")) for number in range(500)]
    queue.add("a", notices, position="9")
    queue.close()
    path = queue_path(tmp_path)
    content = bytearray(path.read_bytes())
    content[0 if damage == "no database" else 8192 : 12288] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(QueueError, match=r"is damaged.*Nothing was changed.*set-aside"):
        JobQueue(tmp_path)
    assert path.read_bytes() == content
    kept = set_queue_aside(tmp_path)
    assert kept.read_bytes() == content
    assert not path.exists()
    JobQueue(tmp_path).close()


def test_a_queue_of_another_version_is_an_error(tmp_path):
    JobQueue(tmp_path).close()
    with sqlite3.connect(queue_path(tmp_path)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(QueueError, match="format 99"):
        JobQueue(tmp_path)
