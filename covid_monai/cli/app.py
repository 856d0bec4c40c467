"""`covid-monai app`: the page in the browser."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from covid_monai.bundle.shipped import find_bundle
from covid_monai.cli.options import BackendOption, BundleOption, DeviceOption, TrustCodeOption, option
from covid_monai.cli.serve import (
    ApiKeyFileOption,
    FetchSecondsOption,
    HostOption,
    MaxUploadOption,
    PortOption,
    PublicUrlOption,
    RequestsPerMinuteOption,
    read_access,
    run_announced,
)
from covid_monai.core.errors import require_extra
from covid_monai.core.lazy_imports import import_monai_for_prediction

if TYPE_CHECKING:
    from covid_monai.app.session import ServedModel


def app(
    host: HostOption = "127.0.0.1",
    port: PortOption = 8501,
    bundle: BundleOption = None,
    compare: Annotated[Path | None, option("app.compare")] = None,
    folder: Annotated[Path | None, option("app.folder")] = None,
    allow_urls: Annotated[bool, option("app.allow_urls", "--allow-urls")] = False,
    url_host: Annotated[list[str] | None, option("app.url_host")] = None,
    fetch_seconds: FetchSecondsOption = 60,
    max_upload_mib: MaxUploadOption = 64,
    device: DeviceOption = None,
    backend: BackendOption = None,
    public_url: PublicUrlOption = None,
    api_key_file: ApiKeyFileOption = None,
    requests_per_minute: RequestsPerMinuteOption = None,
    trust_code: TrustCodeOption = False,
) -> None:
    """Show the page in the browser: images, probabilities, decision, heat map, reports.

    Uploads stay in memory. Without --api-key-file, everybody who can reach the address can use the page.
    Programs find the service of `covid-monai serve` at the same address.

    Exit code: 0 after Ctrl-C, 2 for wrong usage.
    """
    folders = [find_bundle(bundle)] + ([find_bundle(compare)] if compare else [])
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"--folder {folder} is not a folder. Give the folder that holds the images.")
    if url_host and not allow_urls:
        raise ValueError("--url-host has no effect without --allow-urls. Give both, or neither.")
    import_monai_for_prediction()
    with require_extra("app"):
        import nicegui  # noqa: F401

    from covid_monai.api.server import listen
    from covid_monai.api.uploads import Limits
    from covid_monai.app.server import create_app
    from covid_monai.app.session import AppContext
    from covid_monai.core.json_log import log_as_json

    access = read_access(host, public_url, api_key_file, requests_per_minute)
    with listen(host, port) as listening, ExitStack() as stack:
        models: dict[str, ServedModel] = {}
        for place in folders:
            settings = {"device": device, "backend": backend, "trust_code": trust_code}
            model = _load(place, stack, taken=set(models), settings=settings)
            models[model.name] = model
        limits = Limits.for_file_size(max_upload_mib)
        hosts = frozenset(url_host or ())
        context = AppContext(models, limits, folder and folder.resolve(), allow_urls, hosts, fetch_seconds)
        log_as_json()
        page = create_app(context, access)
        words = "Open {0} in a browser; Ctrl-C ends the page. Programs: {0}/docs."
        run_announced(page, listening, words, access)


def _load(folder: Path, stack: ExitStack, *, taken: set[str], settings: dict[str, Any]) -> "ServedModel":
    """Load a bundle; its name on the page differs from the names that are taken."""
    from covid_monai.api.engine import Engine
    from covid_monai.app.session import ServedModel
    from covid_monai.inference.classifier import Classifier

    classifier = Classifier(folder, **settings)
    engine, bundle = Engine(classifier), classifier.bundle
    stack.callback(engine.close)
    name = f"{bundle.name} {bundle.metadata['version']}"
    if name in taken:
        name += f" ({folder.resolve().name})"
    return ServedModel(name, bundle, engine)
