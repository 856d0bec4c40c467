"""`worker check`: what it says of an archive; test_deployment.py runs the whole command beside Orthanc."""

import json
from types import SimpleNamespace

import pytest
from dicom_helpers import make_ds, picture, save
from pacs_helpers import ROOT, SearchServer, found_image

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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_the_password_of_the_example_is_an_error(tmp_path):
    example = json.loads((ROOT / "deploy" / "worker" / "orthanc.json").read_text())
    ((user, password),) = example["RegisteredUsers"].items()
    (tmp_path / "password").write_text(f"{password}\n")
    archive = Archive(
        name="main",
        source="orthanc",
        url="http://127.0.0.1:9",
        username=user,
        password_file=tmp_path / "password",
    )
    found = next(iter(check._check_archive(Settings(state_dir=tmp_path, archives=(archive,)), archive)))
    assert found.level == "FAIL"
    assert "the password is that of the example" in found.text


@pytest.mark.parametrize(
    "version", ["1.12\x1b]0;owned\x07", "1.12\nok    Ready.", "x" * 40, "Doe^Jane", None]
)
def test_text_of_an_archive_does_not_reach_the_terminal(version):
    answers = {"/system": {"Version": version}, "/changes?last": {"Last": 7}}
    client = SimpleNamespace(get_json=answers.__getitem__)
    text = check._check_change_feed(client, "Archive main").text
    assert text == "Archive main: Orthanc of an unknown version answers. Its last change is number 7."


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "\x1b[2J", "Doe^Jane", "1.2\nready"])
def test_a_transfer_syntax_is_named_only_if_it_is_a_uid(syntax, tmp_path):
    ds = make_ds(picture())
    path = save(ds, tmp_path / "image.dcm")
    content = path.read_bytes()
    old, new = b"1.2.840.10008.1.2.1\0", syntax.encode().ljust(20, b"\0")
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    assert check._transfer_syntax(path) in ("Explicit VR Little Endian", "unknown")
