"""`covid-monai serve`: predictions for programs, over HTTP."""

from typing import TYPE_CHECKING, Annotated

import typer

from covid_monai.cli import examples
from covid_monai.cli.options import BackendOption, BundleOption, DeviceOption, find_bundle
from covid_monai.core.errors import require_extra
from covid_monai.core.lazy_imports import import_monai_for_prediction
from covid_monai.core.vocabulary import RESEARCH_USE

if TYPE_CHECKING:
    from socket import socket

    from covid_monai.api.settings import Settings
    from covid_monai.inference.classifier import Classifier

OPEN_TO_OTHERS = (
    "Warning: other machines can reach this service, and it asks nobody who they are: put a reverse proxy "
    "with TLS and authentication before it (docs/rest.md)."
)
EXAMPLES = (
    examples(
        "covid-monai serve",
        "covid-monai serve --port 9000 --bundle runs/mine",
        "covid-monai serve --dicomweb-root https://pacs.example/dicom-web",
        "curl --form files=@image.dcm http://127.0.0.1:8080/v1/predict",
    )
    + f"\n\n{RESEARCH_USE}"
)


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
    max_upload_mib: Annotated[int, typer.Option(min=1, help="Largest file, in MiB.")] = 64,
    max_files: Annotated[int, typer.Option(min=1, help="Most images in one request.")] = 200,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 64,
    dicomweb_root: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="DICOMweb service that callers may name images of; repeatable."),
    ] = None,
) -> None:
    """Answer programs over HTTP: images in, the records of `covid-monai predict --json` out.

    The page /docs describes all of it. Runs until SIGTERM or Ctrl-C; log lines are JSON on the standard
    error and name no patient and no file.

    Exit code: 0 after a signal, 2 for wrong usage.
    """
    with require_extra("service"):
        import fastapi_offline  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    import_monai_for_prediction()
    from covid_monai.api.server import is_loopback, listen
    from covid_monai.api.settings import Settings
    from covid_monai.api.uploads import MIB, Limits

    folder = find_bundle(bundle)
    settings = Settings(
        limits=Limits(
            max_file_bytes=max_upload_mib * MIB, max_files=max_files, max_total_bytes=8 * max_upload_mib * MIB
        ),
        max_held_bytes=32 * max_upload_mib * MIB,
        dicomweb_roots=tuple(root.rstrip("/") for root in dicomweb_root or ()),
        loopback=is_loopback(host),
    )
    with listen(host, port) as listening:
        from covid_monai.inference.classifier import Classifier

        classifier = Classifier(folder, device=device, batch_size=8, backend=backend)
        _serve(listening, classifier, settings, max_requests=max_requests)


def _serve(listening: "socket", classifier: "Classifier", settings: "Settings", *, max_requests: int) -> None:
    from covid_monai.api.api import create_api
    from covid_monai.api.engine import Engine
    from covid_monai.api.server import address_of, run
    from covid_monai.core.json_log import log_as_json

    log_as_json()
    engine = Engine(classifier, max_callers=max_requests)
    try:
        api = create_api(engine, settings)
        address = address_of(listening)
        typer.echo(f"Serving at {address}; {address}/docs describes all of it. {RESEARCH_USE}")
        if not settings.loopback:
            typer.echo(OPEN_TO_OTHERS, err=True)
        run(api, listening)
    finally:
        engine.close()
