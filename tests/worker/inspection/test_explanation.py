"""What became of an image: by the queue, by the audit trail, or by what the archive says."""

import pytest
from pacs_helpers import SearchServer, found_image

from covid_monai.pacs.connection import InstanceAddress
from covid_monai.worker.audit import AuditTrail
from covid_monai.worker.inspection.explanation import explain, explanation_lines
from covid_monai.worker.settings import Settings


def text_of(settings, uid):
    return "\n".join(explanation_lines(explain(settings, uid)))


def test_an_answer_is_told_with_its_results_and_what_the_classifier_said(filled):
    trail = AuditTrail(filled.settings.audit_file, "hashed", filled.settings.state_dir)
    trail.write("answered", filled.jobs[0].address, archive="main", job=1, abnormal=True, cause="covid")
    for uid in ("1.4.1", "1.5.2"):  # the image, and one of its results
        (image,) = explain(filled.settings, uid)["images"]
        assert (image["state"], image["job"], image["results"]) == ("answered", 1, ["1.5.1", "1.5.2"])
        assert [line["event"] for line in image["audit"]] == ["answered"]
    text = text_of(filled.settings, "1.5.2")
    assert "Object 1.4.1 in archive main, job 1" in text
    assert "answered: abnormal, cause covid" in text
    assert "Result 1.5.2 (this is the UID that you gave)" in text


@pytest.mark.parametrize(
    ("uid", "state", "words"),
    [
        ("1.4.2", "refused", "Reason: blank. The picture has hardly any grey levels."),
        ("1.4.3", "dead_letter", "given up (dead letter)"),
        ("1.4.4", "in_work", "It is in work."),
        ("1.4.5", "waiting", "with 3 images before it; 1 try has failed; next try in 10 min."),
        ("1.4.7", "waiting", "with 2 images before it."),
        ("1.4.9", "not_selected", "Reason: views. The rules do not select the image"),
    ],
)
def test_each_state_is_told_with_its_reason(filled, uid, state, words):
    (image,) = explain(filled.settings, uid)["images"]
    assert image["state"] == state
    text = text_of(filled.settings, uid)
    assert words in text
    assert ("The worker is not running: start it." in text) == (state in ("waiting", "in_work"))


def test_a_study_has_all_its_images(filled):
    document = explain(filled.settings, "1.2.1")
    assert [image["sop_instance_uid"] for image in document["images"]] == ["1.4.1", "1.4.3", "1.4.5", "1.4.7"]


def test_what_only_the_audit_trail_knows_is_told_with_the_uid_that_was_asked_for(filled):
    trail = AuditTrail(filled.settings.audit_file, "hashed", filled.settings.state_dir)
    trail.write(
        "refused", InstanceAddress("1.7", "1.7.1", "1.7.2"), archive="main", by="rules", reason="views"
    )
    trail.write("skipped", InstanceAddress("1.7", "1.7.1", "1.7.3"), archive="main", reason="own_result")
    (image,) = explain(filled.settings, "1.7.2")["images"]
    assert (image["state"], image["reason"], image["sop_instance_uid"]) == ("not_selected", "views", "1.7.2")
    assert "refused by the rules: views" in text_of(filled.settings, "1.7.2")
    assert [image["state"] for image in explain(filled.settings, "1.7")["images"]] == [
        "not_selected",
        "skipped",
    ]


@pytest.fixture
def archives(filled):
    """Settings with an archive that is searched, one that is down, and what the first one holds."""
    server = SearchServer(
        [
            found_image(1),
            found_image(2, ViewPosition="LL", StudyDate="20200101"),
            found_image(3, Modality="CT"),
            found_image(4, StudyDate="20200101"),
        ]
    )
    down = {"name": "down", "source": "orthanc", "url": "http://127.0.0.1:9"}
    searched = {"name": "searched", "source": "dicomweb", "url": server.url}
    content = filled.settings.model_dump(mode="json") | {"archives": [searched, down]}
    yield Settings.model_validate(content)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("uid", "state", "reason", "words"),
    [
        ("1.3.1", "not_noticed", None, "the rules select it, but neither queue nor audit trail knows it"),
        ("1.1.3", "not_selected", "modalities", "Reason: modalities."),
        ("1.3.4", "not_selected", "older_than_days", "Its study is older than `days`"),
    ],
)
def test_an_object_that_the_worker_does_not_know_is_asked_of_the_archives(
    archives, uid, state, reason, words
):
    document = explain(archives, uid)
    (image,) = document["images"]
    assert (image["archive"], image["state"], image["reason"]) == ("searched", state, reason)
    assert document["archives_not_asked"]["down"]["reason"] == "ConnectionError"
    text = text_of(archives, uid)
    assert words in text
    assert "Archive down could not be asked: ConnectionError. There is no connection." in text


def test_an_archive_that_ignores_the_question_does_not_mislead(archives):
    """The server returns all its images, because it knows no filter by UID: none has this one."""
    assert explain(archives, "1.9.9")["images"] == []


@pytest.mark.parametrize("text", ["", "1.2/3", "QZNAME^A", "1" * 65, "1.2\n"])
def test_a_text_that_is_no_uid_is_told(filled, text):
    with pytest.raises(ValueError, match=r"is not a UID\. Give a Study or SOP Instance UID"):
        explain(filled.settings, text)
