"""The operations of the REST service."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.requests import ClientDisconnect

from covid_monai import __version__
from covid_monai.api.engine import Engine
from covid_monai.api.openapi import NO_KEY, problems, request_body
from covid_monai.api.problems import KINDS, ProblemError, invalid
from covid_monai.api.request_body import Fetch, body_of_type, read_body
from covid_monai.api.schemas import (
    Answer,
    FieldProblem,
    Health,
    LimitsShown,
    ModelAnswer,
    ModelIdentity,
    Record,
)
from covid_monai.api.server import ServiceSettings
from covid_monai.api.uploads import MemoryBudget, Upload, unpack_all
from covid_monai.inference.prediction import Prediction

Result = TypeVar("Result")
_PUBLIC_PROBLEMS = ("bad-host", "other-host", "other-origin")
_ACCESS_PROBLEMS = (*_PUBLIC_PROBLEMS, "no-key", "too-many-requests")
_BODY_PROBLEMS = (
    *("malformed", "address-not-allowed", "too-slow", "too-large", "unsupported-type", *_ACCESS_PROBLEMS),
    *("invalid", "unexpected", "archive", "archive-too-slow", "busy", "decoder"),
)
_BINARY = {"type": "string", "format": "binary"}


class ReportForm(StrEnum):
    """Form of a report: a PDF page, a DICOM structured report, a DICOM Secondary Capture."""

    PDF = "pdf"
    SR = "sr"
    HEATMAP = "heatmap"


class ApiContext:
    """Classifier, limits and memory budget, which all operations share."""

    def __init__(self, engine: Engine, settings: ServiceSettings, budget: MemoryBudget, fetch: Fetch) -> None:
        self.engine = engine
        self.settings = settings
        self.budget = budget
        self._fetch = fetch
        # More threads than callers: one caller too many is then told at once that the service is busy.
        self._threads = CapacityLimiter(engine.max_callers + 8)

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function in a thread of its own."""
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def uploads(self, request: Request) -> Iterable[Upload]:
        """Return the files of a request, with the members of archives in the place of the archive."""
        limits, seconds = self.settings.limits, self.settings.body_seconds
        body = body_of_type(request.headers.get("content-type", ""), limits, self._fetch)
        return unpack_all(
            await read_body(request, body, limits, self.budget, seconds=seconds), limits, self.budget
        )

    async def predict(self, request: Request) -> list[Prediction]:
        """Classify all files of a request, until all are done or the client has gone."""
        predictions = self.engine.predict(await self.uploads(request))
        found: list[Prediction] = []
        try:
            while (one := await self.in_thread(next, predictions, None)) is not None:
                found.append(one)
                if await request.is_disconnected():
                    raise ClientDisconnect
        finally:
            predictions.close()
        return found

    async def only_upload(self, request: Request) -> Upload:
        """Return the one image of a request."""
        found: list[Upload] = await self.in_thread(list, await self.uploads(request))
        if len(found) != 1:
            detail = f"Send exactly one image; this request has {len(found)}."
            raise invalid([FieldProblem(field="files", detail=detail)])
        return found[0]

    def report(self, upload: Upload, form: ReportForm) -> Response:
        """Make the report of one image."""
        from covid_monai.results import NoResultObjects

        (prediction,) = self.engine.predict([upload])
        if form is ReportForm.PDF:
            return _download(self.engine.pdf_report(upload, prediction), "application/pdf", "report.pdf")
        if not prediction.ok:
            raise ProblemError("no-result", f"{prediction.status}, {prediction.reason}: {prediction.detail}")
        try:
            made = self.engine.dicom_object(upload, prediction, heatmap=form is ReportForm.HEATMAP)
        except NoResultObjects as error:
            raise ProblemError("no-result", str(error)) from error
        return _download(made.data, "application/dicom", made.name)


def _download(content: bytes, media_type: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)


def _context(request: Request) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(_context)]
router = APIRouter()
_REPORT_TYPES = {kind: {"schema": _BINARY} for kind in ("application/pdf", "application/dicom")}


@router.post(
    "/v1/predict",
    responses=problems(*_BODY_PROBLEMS),
    openapi_extra=request_body(single=False),
    tags=["images"],
)
async def predict(request: Request, context: Context) -> Answer:
    """Classify images: files, zip archives of files, one file as the body, or addresses in an archive.

    The answer has one record for each file, in the order of the files. The members of an archive stand in
    its place.
    """
    found = await context.predict(request)
    return Answer(predictions=[Record.model_validate(one.to_json()) for one in found])


@router.post(
    "/v1/report",
    response_class=Response,
    responses={200: {"content": _REPORT_TYPES}, **problems(*_BODY_PROBLEMS, "no-result", "not-installed")},
    openapi_extra=request_body(single=True),
    tags=["images"],
)
async def report(request: Request, context: Context, form: ReportForm = ReportForm.PDF) -> Response:
    """Report on one image: a PDF page for any image, or a DICOM object for its study (`sr`, `heatmap`)."""
    upload = await context.only_upload(request)
    return await context.in_thread(context.report, upload, form)


@router.get("/v1/model", responses=problems(*_ACCESS_PROBLEMS), tags=["service"])
async def model(context: Context) -> ModelAnswer:
    """Describe the model, how it decides, and the limits of a request."""
    classifier = context.engine.classifier
    point, calibration = classifier.operating_point, classifier.calibration
    return ModelAnswer(
        model=ModelIdentity(**classifier.model),
        class_names=list(classifier.class_names),
        operating_point=None if point is None else dict(point.thresholds),
        rule=None if point is None else point.rule,
        coverage=None if calibration is None else calibration.coverage,
        input_gate=classifier.gate is not None,
        fetches_from=list(context.settings.dicomweb_roots),
        limits=LimitsShown.model_validate(context.settings.limits, from_attributes=True),
        software=f"covid-monai {__version__}",
    )


@router.get("/health", responses=problems(*_PUBLIC_PROBLEMS), openapi_extra=NO_KEY, tags=["service"])
async def live() -> Health:
    """Tell that the process answers."""
    return Health(status="live")


@router.get(
    "/health/ready",
    responses={503: {"model": Health}, **problems(*_PUBLIC_PROBLEMS)},
    openapi_extra=NO_KEY,
    tags=["service"],
)
async def ready(context: Context, response: Response) -> Health:
    """Tell whether one more request would be served now; the status is 503 if not."""
    if context.engine.has_place():
        return Health(status="ready")
    response.status_code = 503
    return Health(status="busy")


@router.get("/problems/{kind}", include_in_schema=False)
async def problem(kind: str) -> PlainTextResponse:
    """Explain a kind of problem."""
    if kind not in KINDS:
        raise HTTPException(404)
    return PlainTextResponse(f"{KINDS[kind].title} ({KINDS[kind].status}). {KINDS[kind].meaning}\n")
