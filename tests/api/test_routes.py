"""The operations of the REST service: predict, report, model, health, and what they answer."""

import io
import json

import requests
from api_helpers import LIMITS, SETTINGS, connected, in_process, jpeg, post, problem, zipped
from dicom_helpers import make_ds, picture
from pacs_helpers import wait_until
from urllib3.filepost import encode_multipart_formdata

from covid_monai.api.engine import Engine
from covid_monai.api.server import ServiceSettings
from covid_monai.core.vocabulary import RESEARCH_USE


def test_many_files_and_a_zip_get_the_records_of_predict_in_order(service, engine, image):
    files = [
        ("files", ("a.dcm", image.read_bytes())),
        ("files", ("all.zip", zipped([("x/b.jpg", jpeg()), ("c.png", b"no picture")]))),
        ("files", ("../../d.jpg", jpeg())),
    ]
    answer = post(service, files=files)
    records = answer.json()["predictions"]
    assert [(one["file"], one["status"]) for one in records] == [
        ("a.dcm", "ok"),
        ("b.jpg", "ok"),
        ("c.png", "error"),
        ("d.jpg", "ok"),
    ]
    (expected,) = engine.classifier.predict([image])
    assert records[0] == {**json.loads(json.dumps(expected.to_json())), "file": "a.dcm"}
    assert list(records[0]) == list(expected.to_json())
    assert answer.json()["notice"] == answer.headers["X-Research-Use"] == RESEARCH_USE


def test_a_report_is_a_page_or_an_object_of_the_images_study(service, image):
    from pydicom import dcmread

    uid = dcmread(image).StudyInstanceUID
    for form, modality in (("sr", "SR"), ("heatmap", "OT")):
        answer = post(service, f"/v1/report?form={form}", files={"files": image.open("rb")})
        assert answer.headers["Content-Type"] == "application/dicom", answer.text
        ds = dcmread(io.BytesIO(answer.content))
        assert (ds.StudyInstanceUID, ds.Modality) == (uid, modality)
    for content in (image.read_bytes(), jpeg(), b"no image at all"):
        page = post(service, "/v1/report", files={"files": ("a", content)})
        assert (page.headers["Content-Type"], page.content[:4]) == ("application/pdf", b"%PDF")


def test_what_has_no_report_says_why(service):
    hand = io.BytesIO()
    make_ds(picture(), BodyPartExamined="HAND").save_as(hand, enforce_file_format=True)
    answer = post(service, "/v1/report?form=sr", files={"files": ("hand.dcm", hand.getvalue())})
    assert "not_a_chest" in problem(answer, "no-result")["detail"]
    problem(post(service, "/v1/report?form=sr", files={"files": ("a.jpg", jpeg())}), "no-result")
    two = [("files", ("a", b"1")), ("files", ("b", b"2"))]
    assert problem(post(service, "/v1/report", files=two), "invalid")["errors"][0]["field"] == "files"
    assert problem(post(service, "/v1/report?form=x"), "invalid")["errors"][0]["field"] == "query.form"


def test_model_and_health_say_what_they_are(service, engine):
    model = requests.get(f"{service}/v1/model", timeout=10).json()
    assert model["model"] == engine.classifier.model
    assert model["class_names"] == list(engine.classifier.class_names)
    assert model["limits"]["max_total_bytes"] == LIMITS.max_total_bytes
    assert model["notice"] == RESEARCH_USE
    assert requests.get(f"{service}/health", timeout=10).json()["status"] == "live"
    assert requests.get(f"{service}/health/ready", timeout=10).json()["status"] == "ready"


def test_one_request_too_many_is_told_to_come_back(classifier, image):
    engine = Engine(classifier, max_callers=1)
    try:
        with in_process(engine, SETTINGS) as url, engine._caller():
            answer = post(url, files={"files": image.open("rb")})
            problem(answer, "busy")
            assert int(answer.headers["Retry-After"]) > 0
            assert requests.get(f"{url}/health/ready", timeout=10).status_code == 503
            assert requests.get(f"{url}/health", timeout=10).ok
    finally:
        engine.close()


def test_a_client_that_goes_away_has_nothing_more_done_for_it(engine, image, caplog):
    caplog.set_level("INFO", "covid_monai.api")
    body, kind = encode_multipart_formdata([("files", ("a.dcm", image.read_bytes()))] * 5)
    slow = ServiceSettings(limits=LIMITS)
    with in_process(engine, slow) as url:
        with connected(url, f"Content-Type: {kind}\r\nContent-Length: {len(body)}", body):
            pass
        with connected(url, f"Content-Type: {kind}\r\nContent-Length: {len(body)}", body[:2000]):
            pass
        wait_until(
            lambda: [one.status for one in caplog.records if one.msg == "answered"] == [499, 499],
            seconds=30,
            what="both are noticed",
        )
        assert post(url, files={"files": image.open("rb")}).ok
