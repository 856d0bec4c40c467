"""The REST service as a FastAPI application; see docs/rest.md."""

from collections.abc import Iterable
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from covid_monai import __version__
from covid_monai.api import openapi, start_page
from covid_monai.api.engine import Engine
from covid_monai.api.guard import Guard
from covid_monai.api.problems import REQUEST_ERRORS, ProblemError, on_error
from covid_monai.api.request_body import Fetch
from covid_monai.api.routes import ApiContext, router
from covid_monai.api.server import ServiceSettings
from covid_monai.api.uploads import MemoryBudget, Upload


def create_api(engine: Engine, settings: ServiceSettings, budget: MemoryBudget) -> FastAPI:
    """Create the application: /, /v1/predict, /v1/report, /v1/model, /health, /docs, /openapi.json."""
    api = FastAPIOffline(
        title=openapi.TITLE,
        version=__version__,
        description=openapi.DESCRIPTION,
        redoc_url=None,
        static_url="/docs/files",
        # Without this, Swagger UI sends the address of the service to swagger.io.
        swagger_ui_parameters={"validatorUrl": None},
    )
    api.state.context = ApiContext(engine, settings, budget, _fetch(settings, budget))
    api.include_router(router)
    if settings.start_page:
        api.include_router(start_page.router)
    for error in REQUEST_ERRORS:
        api.add_exception_handler(error, on_error)
    api.add_middleware(Guard, access=settings.access)
    describe = partial(openapi.describe, api, needs_key=settings.access.keys is not None)
    api.openapi = describe  # type: ignore[method-assign]  # as FastAPI's documentation says
    return api


def _fetch(settings: ServiceSettings, budget: MemoryBudget) -> Fetch:
    if not settings.dicomweb_roots:
        return _refuse
    from covid_monai.api.dicomweb import InstanceFetcher

    return InstanceFetcher(
        settings.dicomweb_roots,
        budget,
        max_object_bytes=settings.limits.max_file_bytes,
        seconds=settings.fetch_seconds,
    ).fetch


def _refuse(_: list[str]) -> Iterable[Upload]:
    raise ProblemError(
        "address-not-allowed",
        "This service fetches no images, because it was started without --dicomweb-root. Send the files.",
    )
