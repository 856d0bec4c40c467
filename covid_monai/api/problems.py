"""What goes wrong as `application/problem+json` (RFC 9457)."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from covid_monai.api.schemas import FieldProblem, Problem
from covid_monai.core.vocabulary import RESEARCH_USE

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """A kind of problem; its `type` is the address of a page that says what it means.

    Args:
        status: Of the answer.
        title: The same for every problem of the kind.
        meaning: What to do about it.
    """

    status: HTTPStatus
    title: str
    meaning: str


KINDS = {
    "malformed": Kind(
        HTTPStatus.BAD_REQUEST,
        "The body cannot be read",
        "It is not what its Content-Type says, or stops before its end. Send it again.",
    ),
    "address-not-allowed": Kind(
        HTTPStatus.FORBIDDEN,
        "The address is not allowed",
        "Images are fetched only from the DICOMweb roots that the service was started with.",
    ),
    "too-slow": Kind(
        HTTPStatus.REQUEST_TIMEOUT,
        "The body took too long",
        "Send it in smaller parts, or over a faster line.",
    ),
    "no-result": Kind(
        HTTPStatus.CONFLICT,
        "There is no such result of this image",
        "It was refused or could not be read, or it is no DICOM image. The detail says which.",
    ),
    "too-large": Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "Too much at once",
        "GET /v1/model names the limits. Send fewer or smaller files.",
    ),
    "unsupported-type": Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "No body of this type is taken",
        "The header Accept-Post names the types that are.",
    ),
    "other-host": Kind(
        HTTPStatus.MISDIRECTED_REQUEST,
        "The request is for another host",
        "A service on loopback answers to localhost and 127.0.0.1 only, so that no web page can talk to it.",
    ),
    "invalid": Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The request is not valid",
        "`errors` names each field with what is wrong with it.",
    ),
    "unexpected": Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Unexpected failure",
        "A fault of the service; its log has the place. Please report it.",
    ),
    "not-installed": Kind(
        HTTPStatus.NOT_IMPLEMENTED,
        "Not installed here",
        "This answer needs an extra of the package, which the detail names.",
    ),
    "archive": Kind(
        HTTPStatus.BAD_GATEWAY,
        "The archive did not give the image",
        "The detail has the reason in a word, as in docs/pacs.md.",
    ),
    "busy": Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Busy",
        "As much as the service takes at once is under way. Try again after the seconds in Retry-After.",
    ),
}


class ProblemError(Exception):
    """Ends a request with a problem.

    Args:
        kind: Key of `KINDS`.
        detail: One sentence about this request.
        headers: More headers of the answer.
        errors: What is wrong with which field.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[FieldProblem] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.headers = headers
        self.errors = errors


def answer(error: ProblemError) -> JSONResponse:
    """The response that tells a problem."""
    kind = KINDS[error.kind]
    problem = Problem(
        type=f"/problems/{error.kind}",
        title=kind.title,
        status=kind.status,
        detail=str(error),
        errors=error.errors,
        notice=RESEARCH_USE,
    )
    return _response(problem, error.headers)


def invalid(errors: list[FieldProblem]) -> ProblemError:
    """A problem with some fields."""
    return ProblemError("invalid", "; ".join(f"{one.field}: {one.detail}" for one in errors), errors=errors)


def field_problems(errors: Iterable[Mapping[str, Any]]) -> list[FieldProblem]:
    """What pydantic found, without the values that were sent."""
    return [
        FieldProblem(field=".".join(map(str, error["loc"])) or "body", detail=str(error["msg"]))
        for error in errors
    ]


async def on_problem(request: Request, error: Exception) -> JSONResponse:
    """Handler for `ProblemError`."""
    assert isinstance(error, ProblemError)
    return answer(error)


async def on_validation(request: Request, error: Exception) -> JSONResponse:
    """Handler for parameters that FastAPI refuses."""
    assert isinstance(error, RequestValidationError)
    return answer(invalid(field_problems(error.errors())))


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """Handler for what the framework refuses: no such address, no such method."""
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    problem = Problem(
        type="about:blank",
        title=title,
        status=error.status_code,
        detail=title,
        errors=None,
        notice=RESEARCH_USE,
    )
    return _response(problem, error.headers)


def _response(problem: Problem, headers: Mapping[str, str] | None) -> JSONResponse:
    return JSONResponse(
        problem.model_dump(exclude_none=True), problem.status, dict(headers or {}), media_type=MEDIA_TYPE
    )
