"""`worker check`: what it says of an archive; test_deployment.py runs the whole command beside Orthanc."""

import pytest
from pacs_helpers import SearchServer, found_image

from covid_monai.worker import check
from covid_monai.worker.queue import JobQueue
from covid_monai.worker.settings import Archive, Settings


@pytest.fixture
def say(tmp_path):
    """Check an archive of three images whose answers have habits; return the findings."""
    servers = []

    def run(images=3, *, source="dicomweb", start="now", **habits):
        servers.append(SearchServer(map(found_image, range(images)), **habits))
        archive = Archive(name="main", source=source, url=servers[-1].url, start=start)
        settings = Settings(state_dir=tmp_path, archives=(archive,))
        return [f"{found.level} {found.text}" for found in check._check_archive(settings, archive)]

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("habits", "words"),
    [
        ({"ignores_offset": True}, "it ignores `offset`"),
        ({"ignores_limit": True}, "it ignores `limit`"),
        ({"ignores_date": True}, "it ignores the filter StudyDate"),
        ({"ignores_modality": True}, "it ignores the filter Modality"),
    ],
)
def test_what_an_archive_ignores_is_named(say, habits, words):
    defects = [text for text in say(**habits) if "has a defect" in text]
    assert len(defects) == 1
    assert defects[0].startswith(f"note Archive main: the search has a defect: {words}")


@pytest.mark.parametrize(
    "habits", [{}, {"nothing": 204}, {"nothing": 404}, {"cap": 1}, {"kind": "text/plain"}]
)
def test_a_good_archive_is_not_accused(say, habits):
    found = say(**habits)
    assert not [text for text in found if "defect" in text]
    assert any("images of studies since" in text and "older studies are skipped" in text for text in found)


def test_an_answer_in_xml_is_named(say):
    assert "the answer is not DICOM JSON" in say(body=b"<NativeDicomModel/>")[-1]


class Orthanc:
    def get_json(self, path):
        assert path == "/statistics"
        return {"CountInstances": 14}


def test_what_the_first_start_will_skip_is_named(tmp_path):
    archive = Archive(name="main", source="orthanc", url="http://127.0.0.1:9")
    settings = Settings(state_dir=tmp_path, archives=(archive,))

    def start(archive=archive):
        return check._check_start(settings, archive, Orthanc()).text

    assert "are skipped (start: now): 14 objects until now" in start()
    assert "answers all images that are there" in start(archive.model_copy(update={"start": "beginning"}))
    queue = JobQueue(tmp_path)
    queue.add("main", (), position="since 1000.5")  # started, but not connected
    assert "are skipped (start: now)" in start()
    queue.add("main", (), position="77")
    queue.close()
    assert "goes on behind change number 77" in start()
