"""Fixtures that several test modules share."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
LEFTOVERS = [ROOT / name for name in ("runs", "cache", "mlruns.db", "mlruns", "eval")]

# Tests run side by side: one thread each, here and in the processes that they start, is faster than several
# that wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory) -> Path:
    """Folder of converted networks, for this process and those that it starts."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["COVID_MONAI_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def known_leftovers() -> set[Path]:
    """Runs, caches and databases that lie in the repository already."""
    return {place for place in LEFTOVERS if place.exists()}


@pytest.fixture(autouse=True)
def unchanged_repository(known_leftovers) -> Iterator[None]:
    """No test leaves a run, a cache or a database in the repository."""
    yield
    new = {place for place in LEFTOVERS if place.exists()} - known_leftovers
    known_leftovers |= new  # the next test has not made them
    assert not new, f"This test, or another that ran at the same time, wrote {[*map(str, new)]}"


@pytest.fixture(autouse=True)
def restored_logging(monkeypatch) -> None:
    """A command sets logging up for its process, with a stream that ends with the test."""
    for logger in (logging.getLogger(), logging.getLogger("covid_monai")):
        monkeypatch.setattr(logger, "handlers", list(logger.handlers))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public images; the test is skipped where they are absent."""
    folder = os.environ.get("COVID_MONAI_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the public images: set COVID_MONAI_DATA to their folder (see data/README.md)")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """Datalist of a few synthetic images, enough to train a few steps."""
    from covid_monai.phantoms.dataset import write_phantoms

    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "images", patients=36, size=96, ct=False)


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    """Run the bundle's training in this process: `train(output_dir, datalist, **overrides)`."""
    from monai.bundle import ConfigWorkflow

    bundle = ROOT / "bundles" / "covid_cxr_classification"
    small = {
        "network_name": "resnet10",
        "image_size": 64,
        "batch_size": 8,
        "max_epochs": 2,
        "precision": "fp32",
        "cache_dir": str(tmp_path_factory.mktemp("images")),
    }

    def run(output_dir: Path, datalist: Path, run_id: str = "training", **overrides) -> None:
        workflow = ConfigWorkflow(
            config_file=str(bundle / "configs" / "train.yaml"),
            logging_file=False,
            run_id=run_id,
            bundle_root=str(bundle),
            datalist=str(datalist),
            output_dir=str(output_dir),
            **(small | overrides),
        )
        workflow.initialize()
        workflow.run()

    return run


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """The shipped bundle exported, which takes half a minute: once for all processes of the tests."""
    from filelock import FileLock

    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "export"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        return next(folder.glob("*.zip"), None) or _export(folder, tmp_path_factory.mktemp("elsewhere"))


def _export(folder: Path, elsewhere: Path) -> Path:
    import torch
    from hostile_files import plant_modules

    from covid_monai.export import export_bundle

    # What was compiled before must not show.
    torch.jit.trace(torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 1, 1))
    plant_modules(elsewhere)  # none of the processes that are started may run them
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        return export_bundle(ROOT / "bundles" / "covid_cxr_classification", folder)


@pytest.fixture
def run(monkeypatch, capsys):
    """`covid-monai ARGUMENTS` in this process: exit code, standard output, standard error."""
    import monai  # noqa: F401  # the whole, before `predict` imports less of it into this process

    from covid_monai.cli.main import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["covid-monai", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        else:
            code = 0
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return code, printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A small one, with random weights, an operating point and a calibration."""
    from results_helpers import small_classifier

    return small_classifier(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def orthanc(tmp_path):
    """A real one, empty."""
    from pacs_helpers import Orthanc

    archive = Orthanc(tmp_path / "orthanc")
    yield archive
    archive.stop()


@pytest.fixture
def started(tmp_path):
    """Make workers that end with the test."""
    from pacs_helpers import Worker

    workers = []

    def make(*archives, name="worker", ready=True, **settings):
        worker = Worker(tmp_path / name, *archives, **settings)
        workers.append(worker)
        worker.start(ready=ready)
        return worker

    yield make
    for worker in workers:
        worker.end()


def pytest_addoption(parser):
    parser.addoption(
        "--screenshots", metavar="DIR", help="keep the browser tests' screenshots in this folder"
    )


# The gate draws the same examples every time, and a slow machine fails no deadline; to look for new ones:
# HYPOTHESIS_PROFILE=explore make test-quick
settings.register_profile(
    "gate", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


@pytest.fixture
def new_nicegui():
    """NiceGUI as in a new process: it starts once only."""
    from nicegui import Client
    from nicegui.testing.general import nicegui_reset_globals

    with nicegui_reset_globals():
        yield
        # NiceGUI would remove the packages of all pages from sys.modules, and other tests need ours as it is.
        Client.page_routes.clear()
