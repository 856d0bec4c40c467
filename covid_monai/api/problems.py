"""Errors as answers of type `application/problem+json` (RFC 9457)."""

import traceback
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib import resources
from typing import Any, NamedTuple

import yaml
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from covid_monai.api.engine import Busy
from covid_monai.api.schemas import FieldProblem, Problem
from covid_monai.api.uploads import LimitExceeded, OutOfMemoryBudget, UploadError
from covid_monai.core.vocabulary import RESEARCH_USE, DecoderNotStarted

MEDIA_TYPE = "application/problem+json"
_MEMORY_SECONDS = 5  # until another try makes sense when memory or processes are used up


class Kind(NamedTuple):
    """A kind of problem; its `type` is the address of a page that explains it."""

    status: int
    title: str
    meaning: str


KINDS = {
    name: Kind(**kind)
    for name, kind in yaml.safe_load(
        resources.files(__package__).joinpath("problems.yaml").read_text("utf-8")
    ).items()
}


class ProblemError(HTTPException):
    """Ends a request with a problem of a kind in `KINDS`; `errors` names invalid fields."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[FieldProblem] | None = None,
    ) -> None:
        super().__init__(KINDS[kind].status, detail, headers)
        self.kind = kind
        self.errors = errors


def answer(error: HTTPException) -> JSONResponse:
    """Return the response for a problem, or for a request that the framework refuses (no kind)."""
    status = error.status_code
    if isinstance(error, ProblemError):
        kind, errors = f"/problems/{error.kind}", error.errors
        title, detail = KINDS[error.kind].title, error.detail
    else:
        kind, errors = "about:blank", None
        title = detail = HTTPStatus(status).phrase
    problem = Problem(
        type=kind, title=title, status=status, detail=detail, errors=errors, notice=RESEARCH_USE
    )
    content, headers = problem.model_dump(exclude_none=True), dict(error.headers or {})
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)


def invalid(errors: list[FieldProblem]) -> ProblemError:
    """Return the problem for invalid fields."""
    return ProblemError("invalid", "; ".join(f"{one.field}: {one.detail}" for one in errors), errors=errors)


def field_problems(errors: Iterable[Mapping[str, Any]]) -> list[FieldProblem]:
    """Convert pydantic's errors, without the values that were sent."""
    return [
        FieldProblem(field=".".join(map(str, error["loc"])) or "body", detail=str(error["msg"]))
        for error in errors
    ]


def as_problem(error: Exception) -> HTTPException:
    """Convert an error that a request can cause.

    >>> as_problem(LimitExceeded("a.dcm is too large")).kind
    'too-large'
    """
    match error:
        case HTTPException():
            return error
        case Busy():
            return ProblemError("busy", str(error), headers={"Retry-After": str(error.retry_after)})
        case OutOfMemoryBudget() | DecoderNotStarted():
            kind = "busy" if isinstance(error, OutOfMemoryBudget) else "decoder"
            return ProblemError(kind, str(error), headers={"Retry-After": str(_MEMORY_SECONDS)})
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


async def on_error(_: Request, error: Exception) -> JSONResponse:
    """Answer any of `REQUEST_ERRORS`, and free what its frames hold: uploads, half of a body."""
    traceback.clear_frames(error.__traceback__)
    return answer(as_problem(error))


REQUEST_ERRORS = (HTTPException, Busy, DecoderNotStarted, UploadError, RequestValidationError, ImportError)
