"""Errors as answers of type `application/problem+json` (RFC 9457)."""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from covid_monai.api.engine import Busy
from covid_monai.api.schemas import FieldProblem, Problem
from covid_monai.api.uploads import LimitExceeded, OutOfMemoryBudget, UploadError
from covid_monai.core.vocabulary import RESEARCH_USE

MEDIA_TYPE = "application/problem+json"
_MEMORY_SECONDS = 5  # until another try makes sense when the memory budget is used up


class Kind(NamedTuple):
    """A kind of problem; its `type` is the address of a page that explains it.

    Args:
        status: Status of the answer.
        title: Title, the same for every problem of the kind.
        meaning: Explanation, and what to do.
    """

    status: HTTPStatus
    title: str
    meaning: str


KINDS = {
    "malformed": Kind(
        HTTPStatus.BAD_REQUEST,
        "The body cannot be read",
        "The body does not match its Content-Type, or it is incomplete. Send it again.",
    ),
    "address-not-allowed": Kind(
        HTTPStatus.FORBIDDEN,
        "The address is not allowed",
        "The service fetches images only from the DICOMweb roots that it was started with.",
    ),
    "too-slow": Kind(
        HTTPStatus.REQUEST_TIMEOUT,
        "The body took too long",
        "Send the files in smaller parts, or use a faster connection.",
    ),
    "no-result": Kind(
        HTTPStatus.CONFLICT,
        "This image has no such result",
        "The image was refused, could not be read, or is not a DICOM image. The detail says which.",
    ),
    "too-large": Kind(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The request is too large",
        "GET /v1/model names the limits. Send fewer or smaller files.",
    ),
    "unsupported-type": Kind(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The type of the body is not supported",
        "The header Accept-Post names the types that are supported.",
    ),
    "other-host": Kind(
        HTTPStatus.MISDIRECTED_REQUEST,
        "The request is for another host",
        "A service on loopback answers to localhost and 127.0.0.1 only, so that no web page can reach it.",
    ),
    "invalid": Kind(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The request is not valid",
        "`errors` names each invalid field and says what is wrong with it.",
    ),
    "unexpected": Kind(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Unexpected failure",
        "This is a fault of the service. Its log has the place. Please report it.",
    ),
    "not-installed": Kind(
        HTTPStatus.NOT_IMPLEMENTED,
        "Not installed here",
        "This answer needs an extra of the package. The detail names it.",
    ),
    "archive": Kind(
        HTTPStatus.BAD_GATEWAY,
        "The archive did not give the image",
        "The detail has the reason in one word; docs/pacs.md explains it.",
    ),
    "busy": Kind(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Busy",
        "The service handles as much as it can at once. Try again after the seconds in Retry-After.",
    ),
}


class ProblemError(Exception):
    """Ends a request with a problem.

    Args:
        kind: Key of `KINDS`.
        detail: Description of the problem with this request.
        headers: Additional headers of the answer.
        errors: Invalid fields.
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
    """Return the response for a problem."""
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
    """Return the problem for invalid fields."""
    return ProblemError("invalid", "; ".join(f"{one.field}: {one.detail}" for one in errors), errors=errors)


def field_problems(errors: Iterable[Mapping[str, Any]]) -> list[FieldProblem]:
    """Convert pydantic's errors, without the values that were sent."""
    return [
        FieldProblem(field=".".join(map(str, error["loc"])) or "body", detail=str(error["msg"]))
        for error in errors
    ]


def as_problem(error: Exception) -> ProblemError:
    """Convert an error that a request can cause.

    >>> as_problem(LimitExceeded("a.dcm is too large")).kind
    'too-large'
    """
    match error:
        case ProblemError():
            return error
        case Busy():
            return ProblemError("busy", str(error), headers={"Retry-After": str(error.retry_after)})
        case OutOfMemoryBudget():
            return ProblemError("busy", str(error), headers={"Retry-After": str(_MEMORY_SECONDS)})
        case LimitExceeded():
            return ProblemError("too-large", str(error))
        case UploadError():
            return invalid([FieldProblem(field="files", detail=str(error))])
        case RequestValidationError():
            return invalid(field_problems(error.errors()))
        case ImportError():
            return ProblemError("not-installed", str(error))
        case _:
            raise TypeError(f"{type(error).__name__} is not an error of a request") from error


async def _on_error(_: Request, error: Exception) -> JSONResponse:
    return answer(as_problem(error))


async def _on_http(_: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses: an unknown address, a wrong method."""
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


HANDLERS: dict[type[Exception], Callable[..., Any]] = {
    **dict.fromkeys((ProblemError, Busy, UploadError, RequestValidationError, ImportError), _on_error),
    HTTPException: _on_http,
}


def _response(problem: Problem, headers: Mapping[str, str] | None) -> JSONResponse:
    return JSONResponse(
        problem.model_dump(exclude_none=True), problem.status, dict(headers or {}), media_type=MEDIA_TYPE
    )
