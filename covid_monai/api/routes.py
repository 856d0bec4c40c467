"""What the REST service answers to."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse

from covid_monai import __version__
from covid_monai.api.description import problems, request_body
from covid_monai.api.desk import Desk, Form
from covid_monai.api.problems import KINDS
from covid_monai.api.schemas import (
    Answer,
    Health,
    LimitsShown,
    ModelAnswer,
    ModelIdentity,
    Record,
)

_INTAKE_PROBLEMS = (
    *("malformed", "address-not-allowed", "too-slow", "too-large", "unsupported-type", "other-host"),
    *("invalid", "unexpected", "archive", "busy"),
)


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
        tags=["images"],
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
        tags=["images"],
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
    """Classify images: files, zip archives of them, one file as the body, or addresses in an archive.

    One record for each file, in their order; the members of an archive stand in its place.
    """
    async with desk.intake.uploads(request) as uploads:
        predictions = await desk.predict(request, uploads)
    return Answer(predictions=[Record.of(one) for one in predictions])


async def report(request: Request, desk: TheDesk, form: Form = Form.PDF) -> Response:
    """Report on one image: a page, whatever became of it, or an object for its study (`sr`, `heatmap`)."""
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
