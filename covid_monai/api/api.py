"""The REST service as a FastAPI application; see docs/rest.md."""

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from covid_monai import __version__
from covid_monai.api import description, problems
from covid_monai.api.desk import Desk
from covid_monai.api.engine import Busy, Engine
from covid_monai.api.guard import Guard
from covid_monai.api.intake import Fetch, Intake
from covid_monai.api.problems import ProblemError
from covid_monai.api.routes import router
from covid_monai.api.schemas import FieldProblem
from covid_monai.api.settings import Settings
from covid_monai.api.uploads import LimitExceeded, Upload, UploadError


def create_api(engine: Engine, settings: Settings) -> FastAPI:
    """The application: /v1/predict, /v1/report, /v1/model, /health, /docs, /openapi.json.

    Args:
        engine: Makes the predictions.
        settings: See `Settings`.
    """
    api = FastAPIOffline(
        title=description.TITLE,
        version=__version__,
        description=description.DESCRIPTION,
        redoc_url=None,
        static_url="/docs/files",
        swagger_ui_parameters={
            "validatorUrl": None
        },  # else Swagger UI asks swagger.io, and tells it our address
    )
    intake = Intake(
        settings.limits,
        max_held_bytes=settings.max_held_bytes,
        seconds=settings.body_seconds,
        fetch=_fetch(settings),
    )
    api.state.desk = Desk(engine, intake, settings.limits, settings.dicomweb_roots)
    api.include_router(router())
    for error, handler in _HANDLERS.items():
        api.add_exception_handler(error, handler)
    api.add_middleware(Guard, loopback=settings.loopback)
    api.openapi = lambda: _describe(api)  # type: ignore[method-assign]  # as FastAPI's documentation says
    return api


def _fetch(settings: Settings) -> Fetch:
    if not settings.dicomweb_roots:
        return _refuse
    from covid_monai.api.dicomweb import InstanceFetcher

    return InstanceFetcher(
        settings.dicomweb_roots,
        max_object_bytes=settings.limits.max_file_bytes,
        seconds=settings.body_seconds,
    ).fetch


def _refuse(addresses: list[str]) -> Iterable[Upload]:
    raise ProblemError(
        "address-not-allowed", "Fetching is off: the service was started without --dicomweb-root."
    )


def _describe(api: FastAPI) -> dict[str, Any]:
    if api.openapi_schema is None:
        found = get_openapi(
            title=api.title, version=api.version, description=api.description, routes=api.routes
        )
        api.openapi_schema = description.add_components(found)
    return api.openapi_schema


async def _on_limit(request: object, error: Exception) -> Any:
    return problems.answer(ProblemError("too-large", str(error)))


async def _on_upload(request: object, error: Exception) -> Any:
    return problems.answer(problems.invalid([FieldProblem(field="files", detail=str(error))]))


async def _on_busy(request: object, error: Exception) -> Any:
    assert isinstance(error, Busy)
    headers = {"Retry-After": str(error.retry_after)}
    return problems.answer(ProblemError("busy", str(error), headers=headers))


async def _on_missing(request: object, error: Exception) -> Any:
    return problems.answer(ProblemError("not-installed", str(error)))


_HANDLERS: dict[type[Exception], Callable[..., Any]] = {
    ProblemError: problems.on_problem,
    RequestValidationError: problems.on_validation,
    HTTPException: problems.on_http,
    LimitExceeded: _on_limit,
    UploadError: _on_upload,
    Busy: _on_busy,
    ImportError: _on_missing,
}
