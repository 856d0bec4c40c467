"""What the REST service answers to."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.requests import ClientDisconnect

from covid_monai import __version__
from covid_monai.inference.prediction import Prediction
from covid_monai.service.description import problems, request_body
from covid_monai.service.engine import Engine
from covid_monai.service.intake import Intake
from covid_monai.service.problems import KINDS, ProblemError, invalid
from covid_monai.service.schemas import (
    Answer,
    FieldProblem,
    Health,
    LimitsShown,
    ModelAnswer,
    ModelIdentity,
    Record,
)
from covid_monai.service.uploads import Limits, Upload, unpack_all

Result = TypeVar("Result")
_INTAKE_PROBLEMS = (
    *("malformed", "address-not-allowed", "too-slow", "too-large", "unsupported-type", "other-host"),
    *("invalid", "unexpected", "archive", "busy"),
)


class Form(StrEnum):
    """In which form a report is wanted."""

    PDF = "pdf"
    SR = "sr"
    HEATMAP = "heatmap"


class Desk:
    """What the operations share.

    Args:
        engine: Makes the predictions.
        intake: Takes bodies in.
        limits: Of one request.
        fetches_from: DICOMweb roots.
    """

    def __init__(self, engine: Engine, intake: Intake, limits: Limits, fetches_from: tuple[str, ...]) -> None:
        self.engine = engine
        self.intake = intake
        self.limits = limits
        self.fetches_from = fetches_from
        # More threads than callers, so that one too many is told at once that the engine is busy.
        self._threads = CapacityLimiter(engine.max_callers + 8)

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Wait for a function without holding up the others."""
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def predict(self, request: Request, uploads: Iterable[Upload]) -> list[Prediction]:
        """Classify until all is done or the client has gone.

        Raises:
            ClientDisconnect: If nobody waits for the answer any more.
        """
        predictions = self.engine.predict(unpack_all(uploads, self.limits))
        found: list[Prediction] = []
        try:
            while (one := await self.in_thread(next, predictions, None)) is not None:
                found.append(one)
                if await request.is_disconnected():
                    raise ClientDisconnect
        finally:
            predictions.close()
        return found

    async def only_upload(self, uploads: Iterable[Upload]) -> Upload:
        """The one film of a request.

        Raises:
            ProblemError: If there are several, or none.
        """
        found: list[Upload] = await self.in_thread(list, unpack_all(uploads, self.limits))
        if len(found) != 1:
            raise invalid([FieldProblem(field="files", detail=f"send one film, not {len(found)}")])
        return found[0]

    def report(self, upload: Upload, form: Form) -> Response:
        """Make the report of one film; see `report` of `router`."""
        from covid_monai.results import NoResultObjects

        (prediction,) = self.engine.predict([upload])
        if form is Form.PDF:
            return _download(self.engine.page_pdf(upload, prediction), "application/pdf", "report.pdf")
        if not prediction.ok:
            raise ProblemError("no-result", f"{prediction.status}, {prediction.reason}: {prediction.detail}")
        try:
            objects = self.engine.dicom_objects(upload, prediction, heatmap=form is Form.HEATMAP)
        except NoResultObjects as error:
            raise ProblemError("no-result", str(error)) from error
        chosen = objects[1 if form is Form.HEATMAP else 0]
        return _download(chosen.data, "application/dicom", chosen.name)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


TheDesk = Annotated[Desk, Depends(_desk)]


def router() -> APIRouter:
    """The operations, with what OpenAPI says of them."""
    routes = APIRouter()
    routes.add_api_route(
        "/v1/predict",
        predict,
        methods=["POST"],
        response_model=Answer,
        responses=problems(*_INTAKE_PROBLEMS),
        openapi_extra=request_body(single=False),
        tags=["films"],
    )
    routes.add_api_route(
        "/v1/report",
        report,
        methods=["POST"],
        response_class=Response,
        responses={
            200: {
                "content": {kind: {"schema": _BINARY} for kind in ("application/pdf", "application/dicom")}
            },
            **problems(*_INTAKE_PROBLEMS, "no-result", "not-installed"),
        },
        openapi_extra=request_body(single=True),
        tags=["films"],
    )
    routes.add_api_route("/v1/model", model, responses=problems("other-host"), tags=["service"])
    routes.add_api_route("/health", live, responses=problems("other-host"), tags=["service"])
    routes.add_api_route(
        "/health/ready",
        ready,
        responses={503: {"model": Health}, **problems("other-host")},
        tags=["service"],
    )
    routes.add_api_route("/problems/{kind}", problem, include_in_schema=False)
    return routes


_BINARY = {"type": "string", "format": "binary"}


async def predict(request: Request, desk: TheDesk) -> Answer:
    """Classify films: files, zip archives of them, one file as the body, or addresses in an archive.

    One record for each file, in their order; the members of an archive stand in its place.
    """
    async with desk.intake.uploads(request) as uploads:
        predictions = await desk.predict(request, uploads)
    return Answer(predictions=[Record.of(one) for one in predictions])


async def report(request: Request, desk: TheDesk, form: Form = Form.PDF) -> Response:
    """Report on one film: a page, whatever became of it, or an object for its study (`sr`, `heatmap`)."""
    async with desk.intake.uploads(request) as uploads:
        upload = await desk.only_upload(uploads)
        return await desk.in_thread(desk.report, upload, form)


async def model(desk: TheDesk) -> ModelAnswer:
    """Say which model answers, how it decides, and what is taken at once."""
    classifier = desk.engine.classifier
    point, calibration = classifier.operating_point, classifier.calibration
    return ModelAnswer(
        model=ModelIdentity(**classifier.model),
        class_names=list(classifier.class_names),
        operating_point=None if point is None else dict(point.thresholds),
        rule=None if point is None else point.rule,
        coverage=None if calibration is None else calibration.coverage,
        input_gate=classifier.gate is not None,
        fetches_from=list(desk.fetches_from),
        limits=LimitsShown.of(desk.limits),
        software=f"covid-monai {__version__}",
    )


async def live() -> Health:
    """Say that the process answers."""
    return Health(status="live")


async def ready(desk: TheDesk, response: Response) -> Health:
    """Say whether one more request would be taken now; 503 if not."""
    if desk.engine.has_place():
        return Health(status="ready")
    response.status_code = 503
    return Health(status="busy")


async def problem(kind: str) -> PlainTextResponse:
    """Say what a kind of problem means."""
    if kind not in KINDS:
        raise HTTPException(404)
    return PlainTextResponse(f"{KINDS[kind].title} ({int(KINDS[kind].status)}). {KINDS[kind].meaning}\n")


def _download(content: bytes, kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=headers)
