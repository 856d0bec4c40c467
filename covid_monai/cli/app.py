"""`covid-monai app`: the page in the browser."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covid_monai.cli import examples
from covid_monai.cli.options import BackendOption, BundleOption, DeviceOption, find_bundle
from covid_monai.cli.serve import OPEN_TO_OTHERS
from covid_monai.core.errors import require_extra
from covid_monai.core.lazy_imports import import_monai_for_prediction
from covid_monai.core.vocabulary import RESEARCH_USE

if TYPE_CHECKING:
    from socket import socket

    from covid_monai.app.desk import Desk, Model

EXAMPLES = (
    examples(
        "covid-monai app",
        "covid-monai app --compare runs/mine",
        "covid-monai app --folder images/ --max-upload-mib 32",
    )
    + f"\n\n{RESEARCH_USE}"
)


def app(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8501,
    bundle: BundleOption = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A second bundle, to compare with on the same image.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Let visitors choose images below this folder.")
    ] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Let visitors name a URL, which this machine fetches.")
    ] = False,
    url_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="With --allow-urls: a host whose address may be private."),
    ] = None,
    max_upload_mib: Annotated[int, typer.Option(min=1, help="Largest file that is taken, in MiB.")] = 64,
    device: DeviceOption = None,
    backend: BackendOption = None,
) -> None:
    """Show the page in the browser: images in, probabilities, decision, heat map and reports out.

    Uploads stay in memory. There is no login: whoever reaches the address sees the page. Programs find the
    service of `covid-monai serve` at the same address.

    Exit code: 0 after Ctrl-C, 2 for wrong usage.
    """
    folders = [find_bundle(bundle)] + ([find_bundle(compare)] if compare else [])
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"--folder {folder} is not a folder.")
    if url_host and not allow_urls:
        raise ValueError("--url-host belongs to --allow-urls: give both.")
    import_monai_for_prediction()
    with require_extra("app"):
        import nicegui  # noqa: F401

    from covid_monai.api.server import is_loopback, listen
    from covid_monai.api.uploads import MIB, Limits
    from covid_monai.app.desk import Desk

    with listen(host, port) as listening, ExitStack() as stack:
        models: dict[str, Model] = {}
        for place in folders:
            model = _open(place, stack, taken=set(models), device=device, backend=backend)
            models[model.name] = model
        limits = Limits(max_file_bytes=max_upload_mib * MIB, max_total_bytes=8 * max_upload_mib * MIB)
        desk = Desk(models, limits, folder and folder.resolve(), allow_urls, frozenset(url_host or ()))
        _serve(listening, desk, loopback=is_loopback(host))


def _serve(listening: "socket", desk: "Desk", *, loopback: bool) -> None:
    from covid_monai.api.server import address_of, run
    from covid_monai.app.server import create_app
    from covid_monai.core.json_log import log_as_json

    log_as_json()
    app = create_app(desk, loopback=loopback)
    address = address_of(listening)
    typer.echo(f"Open {address} in a browser; Ctrl-C ends it. Programs: {address}/docs. {RESEARCH_USE}")
    if not loopback:
        typer.echo(OPEN_TO_OTHERS, err=True)
    run(app, listening)


def _open(
    folder: Path, stack: ExitStack, *, taken: set[str], device: str | None, backend: str | None
) -> "Model":
    from covid_monai.api.engine import Engine
    from covid_monai.app.desk import Model
    from covid_monai.bundle import Bundle
    from covid_monai.inference.classifier import Classifier

    bundle = Bundle(folder)
    engine = Engine(Classifier(folder, device=device, backend=backend))
    stack.callback(engine.close)
    name = f"{bundle.name} {bundle.metadata['version']}"
    if name in taken:
        name += f" ({folder.resolve().name})"
    return Model(name, bundle, engine)
