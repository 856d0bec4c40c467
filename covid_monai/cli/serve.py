"""`covid-monai serve`: predictions for programs, over HTTP."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from covid_monai.bundle.shipped import find_bundle
from covid_monai.cli.options import BackendOption, BundleOption, DeviceOption, option
from covid_monai.core.errors import require_extra
from covid_monai.core.lazy_imports import import_monai_for_prediction
from covid_monai.core.vocabulary import RESEARCH_USE

if TYPE_CHECKING:
    from socket import socket

    from fastapi import FastAPI

_REACHABLE_BY_OTHERS = (
    "Warning: other machines can reach this service, and it has no login. Put a reverse proxy with TLS and "
    "authentication before it (docs/rest.md)."
)
HostOption = Annotated[str, option("serve.host")]
PortOption = Annotated[int, option("serve.port", min=0, max=65535)]
MaxUploadOption = Annotated[int, option("serve.max_upload", min=1)]
FetchSecondsOption = Annotated[float, option("serve.fetch_seconds", min=1, max=3600)]


def serve(
    host: HostOption = "127.0.0.1",
    port: PortOption = 8080,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
    max_upload_mib: MaxUploadOption = 64,
    max_files: Annotated[int, option("serve.max_files", min=1)] = 200,
    max_requests: Annotated[int, option("serve.max_requests", min=1)] = 64,
    dicomweb_root: Annotated[list[str] | None, option("serve.dicomweb_root")] = None,
    fetch_seconds: FetchSecondsOption = 60,
) -> None:
    """Answer programs over HTTP: images in, the records of `covid-monai predict --json` out.

    The page /docs describes all operations. The service runs until SIGTERM or Ctrl-C. It writes its log as
    JSON to standard error; the log names no patient and no file.

    Exit code: 0 after a signal, 2 for wrong usage.
    """
    with require_extra("service"):
        import fastapi_offline  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    import_monai_for_prediction()
    from covid_monai.api.server import ServiceSettings, is_loopback, listen
    from covid_monai.api.uploads import Limits

    folder = find_bundle(bundle)
    settings = ServiceSettings(
        limits=Limits.for_file_size(max_upload_mib, max_files=max_files),
        fetch_seconds=fetch_seconds,
        dicomweb_roots=tuple(root.rstrip("/") for root in dicomweb_root or ()),
        loopback=is_loopback(host),
    )
    with listen(host, port) as listening:
        from covid_monai.api.application import create_api
        from covid_monai.api.engine import Engine
        from covid_monai.api.uploads import MemoryBudget
        from covid_monai.core.json_log import log_as_json
        from covid_monai.inference.classifier import Classifier

        classifier = Classifier(folder, device=device, batch_size=8, backend=backend)
        log_as_json()
        with closing(Engine(classifier, max_callers=max_requests)) as engine:
            api = create_api(engine, settings, MemoryBudget(settings.limits.max_held_bytes))
            words = "Serving at {0}; {0}/docs describes all operations."
            run_announced(api, listening, words, loopback=settings.loopback)


def run_announced(app: "FastAPI", listening: "socket", words: str, *, loopback: bool) -> None:
    """Print `words` with the address in the place of {0}, warn if others can reach it, and serve."""
    from covid_monai.api.server import address_of, run

    typer.echo(f"{words.format(address_of(listening))} {RESEARCH_USE}")
    if not loopback:
        typer.echo(_REACHABLE_BY_OTHERS, err=True)
    run(app, listening)
