"""`covid-monai serve`: predictions for programs, over HTTP."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covid_monai.bundle.shipped import find_bundle
from covid_monai.cli.options import BackendOption, BundleOption, DeviceOption, TrustCodeOption, option
from covid_monai.core.errors import require_extra
from covid_monai.core.lazy_imports import import_monai_for_prediction
from covid_monai.core.vocabulary import RESEARCH_USE

if TYPE_CHECKING:
    from socket import socket

    from fastapi import FastAPI

    from covid_monai.api.access import Access

_WITHOUT_KEY = (
    "Warning: other machines can reach this service, and it has no login. Give --api-key-file, or put a "
    "reverse proxy with TLS and authentication before it (docs/rest.md)."
)
_WITHOUT_TLS = (
    "Warning: other machines can reach this service, and images and API keys travel unencrypted. Put a "
    "reverse proxy with TLS before it (docs/rest.md)."
)
HostOption = Annotated[str, option("serve.host")]
PortOption = Annotated[int, option("serve.port", min=0, max=65535)]
MaxUploadOption = Annotated[int, option("serve.max_upload", min=1)]
FetchSecondsOption = Annotated[float, option("serve.fetch_seconds", min=1, max=3600)]
PublicUrlOption = Annotated[list[str] | None, option("serve.public_url")]
ApiKeyFileOption = Annotated[Path | None, option("serve.api_key_file")]
RequestsPerMinuteOption = Annotated[int | None, option("serve.requests_per_minute", min=1)]


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
    public_url: PublicUrlOption = None,
    api_key_file: ApiKeyFileOption = None,
    requests_per_minute: RequestsPerMinuteOption = None,
    trust_code: TrustCodeOption = False,
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
    from covid_monai.api.server import ServiceSettings, listen
    from covid_monai.api.uploads import Limits

    folder = find_bundle(bundle)
    settings = ServiceSettings(
        limits=Limits.for_file_size(max_upload_mib, max_files=max_files),
        fetch_seconds=fetch_seconds,
        dicomweb_roots=tuple(root.rstrip("/") for root in dicomweb_root or ()),
        access=read_access(host, public_url, api_key_file, requests_per_minute),
    )
    with listen(host, port) as listening:
        from covid_monai.api.application import create_api
        from covid_monai.api.engine import Engine
        from covid_monai.api.uploads import MemoryBudget
        from covid_monai.core.json_log import log_as_json
        from covid_monai.inference.classifier import Classifier

        classifier = Classifier(folder, device=device, batch_size=8, backend=backend, trust_code=trust_code)
        log_as_json()
        with closing(Engine(classifier, max_callers=max_requests)) as engine:
            api = create_api(engine, settings, MemoryBudget(settings.limits.max_held_bytes))
            words = "Serving at {0}; {0}/docs describes all operations."
            run_announced(api, listening, words, settings.access)


def read_access(
    host: str, public_urls: list[str] | None, api_key_file: Path | None, requests_per_minute: int | None
) -> "Access":
    """Return who may use a service that listens at an address."""
    from covid_monai.api.access import Access, ApiKeys
    from covid_monai.core.request_origin import is_loopback_name

    keys = ApiKeys.read(api_key_file) if api_key_file else None
    return Access(is_loopback_name(host.lower()), tuple(public_urls or ()), keys, requests_per_minute)


def run_announced(app: "FastAPI", listening: "socket", words: str, access: "Access") -> None:
    """Print `words` with the address in the place of {0}, warn if others can reach it, and serve."""
    from covid_monai.api.server import address_of, run

    typer.echo(f"{words.format(address_of(listening))} {RESEARCH_USE}")
    if not access.loopback:
        typer.echo(_WITHOUT_TLS if access.keys else _WITHOUT_KEY, err=True)
    run(app, listening)
