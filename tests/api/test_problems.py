"""Errors as answers of type application/problem+json."""

import asyncio
import json
import weakref
from http import HTTPStatus

import pytest
import requests
from api_helpers import SETTINGS, in_process, post, problem
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError

from covid_monai.api.engine import Busy
from covid_monai.api.problems import (
    KINDS,
    MEDIA_TYPE,
    ProblemError,
    answer,
    as_problem,
    field_problems,
    invalid,
    on_error,
)
from covid_monai.api.uploads import LimitExceeded, OutOfMemoryBudget, UploadError
from covid_monai.core.json_log import JsonFormatter
from covid_monai.core.vocabulary import RESEARCH_USE, DecoderNotStarted
from covid_monai.readers.sandbox import DecodeSandbox


def test_what_the_framework_refuses_is_a_problem_too(service):
    for method, path, status in (
        ("GET", "/no", 404),
        ("GET", "/v1/predict", 405),
        ("GET", "/problems/no", 404),
    ):
        answer = requests.request(method, service + path, timeout=10)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (answer.status_code, answer.json()["type"]) == (status, "about:blank")
    assert requests.get(f"{service}/v1/predict", timeout=10).headers["Allow"] == "POST"
    for kind in KINDS:
        assert KINDS[kind].meaning in requests.get(f"{service}/problems/{kind}", timeout=10).text


def test_a_failure_of_our_own_is_a_problem_that_tells_nothing_of_the_image(
    engine, image, caplog, monkeypatch
):
    def fail(*_):
        raise LookupError("Nightingale^Florence")

    monkeypatch.setattr("covid_monai.api.routes.Record.model_validate", fail)
    with in_process(engine, SETTINGS) as url:
        body = problem(post(url, files={"files": image.open("rb")}), "unexpected")
    assert "LookupError" in body["detail"]
    assert "Florence" not in str(body)
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert any("LookupError" in line for line in lines)
    assert not any("Florence" in line for line in lines)


# -- the functions -------------------------------------------------------------------------------------------


def body_of(response):
    return json.loads(response.body)


@pytest.mark.parametrize(
    ("error", "kind", "headers"),
    [
        (Busy(), "busy", {"Retry-After": str(Busy.retry_after)}),
        (OutOfMemoryBudget("no memory"), "busy", {"Retry-After": "5"}),
        (LimitExceeded("a.dcm is too large"), "too-large", None),
        (UploadError("all.zip is damaged"), "invalid", None),
        (RequestValidationError([{"loc": ("query", "form"), "msg": "x"}]), "invalid", None),
        (ImportError("install the extra dicom"), "not-installed", None),
    ],
)
def test_every_error_of_a_request_has_its_kind(error, kind, headers):
    found = as_problem(error)
    assert (found.kind, found.status_code) == (kind, KINDS[kind].status)
    assert found.headers == headers
    if kind != "invalid":
        assert found.detail == str(error)


def test_an_error_that_no_request_causes_is_not_taken_for_one():
    with pytest.raises(TypeError, match="LookupError is not an error of a request"):
        as_problem(LookupError("a"))


def test_a_problem_stays_what_it_is():
    error = ProblemError("archive", "gone")
    assert as_problem(error) is error


def test_an_answer_has_the_members_of_rfc_9457_and_keeps_the_headers():
    response = answer(ProblemError("too-slow", "10 s are over", headers={"Connection": "close"}))
    assert response.media_type == MEDIA_TYPE
    assert response.headers["Connection"] == "close"
    assert body_of(response) == {
        "type": "/problems/too-slow",
        "title": KINDS["too-slow"].title,
        "status": 408,
        "detail": "10 s are over",
        "notice": RESEARCH_USE,
    }
    assert body_of(answer(HTTPException(405)))["title"] == "Method Not Allowed"


def test_invalid_fields_are_named_and_what_was_sent_is_not_repeated():
    sent = [{"loc": ("query", "form"), "msg": "not a form", "input": "Doe"}, {"loc": (), "msg": "empty"}]
    problems = field_problems(sent)
    assert [(one.field, one.detail) for one in problems] == [("query.form", "not a form"), ("body", "empty")]
    error = invalid(problems)
    assert error.detail == "query.form: not a form; body: empty"
    assert [one["field"] for one in body_of(answer(error))["errors"]] == ["query.form", "body"]


def test_an_answer_frees_the_uploads_that_the_error_still_holds():
    class Held:
        pass

    watched = []

    def fail():
        upload = Held()
        watched.append(weakref.ref(upload))
        raise LimitExceeded("too large")

    try:
        fail()
    except LimitExceeded as error:
        response = asyncio.run(on_error(None, error))
        assert watched[0]() is None
    assert response.status_code == 413


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_status_of_http_and_complete_sentences(kind):
    assert 400 <= HTTPStatus(KINDS[kind].status) < 600
    assert KINDS[kind].meaning.endswith(".")
    assert not KINDS[kind].title.endswith(".")


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/report"])
def test_a_decoder_that_cannot_start_is_the_machines_failure_and_not_the_images(
    service, image, monkeypatch, path
):
    def check(*_):
        raise DecoderNotStarted("The decode process cannot be started.")

    with monkeypatch.context() as broken:
        broken.setattr(DecodeSandbox, "check", check)
        answer = post(service, path, files={"files": image.open("rb")})
        problem(answer, "decoder")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
    assert post(service, path, files={"files": image.open("rb")}).ok
