"""One MLflow run per training: settings, data, curves, figures, weights, environment.

Nothing that is logged names a patient, a file or a folder, because many people may read the store. The only
module that imports mlflow.
"""

import atexit
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

# A hospital's run must not report to anyone; set before the import, overridable from outside.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import ignite.distributed as idist
import mlflow
import yaml
from ignite.engine import Engine, Events
from mlflow.entities import Dataset, DatasetInput, RunStatus
from monai.handlers import MLFlowHandler
from sklearn.metrics import confusion_matrix

from covid_monai.bundle import Bundle
from covid_monai.core.atomic_files import keep_private, make_private_folder
from covid_monai.core.errors import first_line
from covid_monai.core.sigint import defer_sigint
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.datasets.datalist import Datalist
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.evaluation.report.plots import plot_confusion_matrix, plot_roc
from covid_monai.training.run_folder import RunSettings
from covid_monai.training.scores import ClassificationScores

logger = logging.getLogger("covid_monai.training")
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of each table that it makes
_DEFAULT_STORE = "sqlite:///mlruns.db"
_RUN_ID_FILE = "mlflow_run_id.txt"  # in the run folder
_STOPPED_BY_HAND = 130  # as a shell reports SIGINT
_unfinished: dict[str, mlflow.MlflowClient] = {}  # runs that this process has opened, by id


@dataclass(kw_only=True, eq=False, repr=False)
class RunTracker(MLFlowHandler):
    """Log a training run to MLflow; MONAI's handler opens the store and writes the values.

    Unlike MONAI's own choice of "the latest unfinished run of that name", a run belongs to one run folder,
    which holds its id. A resumed run continues its own run in MLflow; a new run starts its own. A run that
    `log_results` has not closed when the process ends is marked as failed. Only the first process logs.

    Args:
        folder: Run folder, which keeps the id of the run.
        bundle: Bundle that is trained; its name is the name of the experiment.
        settings: Settings of the run; those that are no path are logged as parameters.
        datalist: Datalist of the run. Its counts and digest are logged; its path and records are not.
        evaluator: Evaluator that has the validation metrics.
        name: Name of the run in MLflow; None takes the time of its start.
    """

    folder: Path
    bundle: Bundle
    settings: RunSettings
    datalist: Datalist
    evaluator: Any
    name: str | None = None

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        if idist.get_rank() == 0:  # several processes would create the database at the same time
            _make_private_store()
            name = self.name or time.strftime("%Y-%m-%d %H:%M:%S")
            super().__init__(experiment_name=self.bundle.name, run_name=str(name))

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after those that restore and save the run."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self.start)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
            engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    @defer_sigint()
    def start(self, engine: Any) -> None:
        """Open a run, or continue the one of the run folder if the training was resumed."""
        self._set_experiment()
        run = (self._earlier_run() if engine.state.epoch > 0 else None) or self._new_run()
        self.cur_run = run
        _unfinished[run.info.run_id] = self.client

    @defer_sigint()
    def epoch_completed(self, engine: Any) -> None:
        """Log `train/...` and `val/...` of the epoch."""
        rates = [group["lr"] for group in engine.optimizer.param_groups]
        train = {f"train/{name}": value for name, value in engine.state.metrics.items()}
        state = self.evaluator.state
        # After an epoch without validation the evaluator still holds the metrics of an earlier epoch.
        current = state.metrics if state.epoch == engine.state.epoch else {}
        val = {_to_key(f"val/{name}"): value for name, value in current.items()}
        self._log_metrics({**train, **val, "train/learning_rate": max(rates)}, step=engine.state.epoch)

    def fail(self, engine: Engine, error: BaseException) -> None:
        """Mark the run as failed and raise the error; Ctrl-C ends the program without a traceback."""
        if self.cur_run is not None:
            _terminate(self.cur_run.info.run_id, self.client, error)
        if isinstance(error, KeyboardInterrupt):
            logger.warning(
                "Stopped in epoch %d. To continue after the last complete epoch, add --resume true to the "
                "command.",
                engine.state.epoch,
            )
            raise SystemExit(_STOPPED_BY_HAND) from None
        raise error

    def _earlier_run(self) -> mlflow.entities.Run | None:
        run_id = read_run_id(self.folder)
        try:
            run = None if run_id is None else self.client.get_run(run_id)
        except mlflow.MlflowException:
            return None  # another store than last time: a new run there
        if run is None or run.info.lifecycle_stage != "active":
            return None
        self.client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        return run

    def _new_run(self) -> mlflow.entities.Run:
        experiment: Any = self.experiment
        run = self.client.create_run(
            experiment.experiment_id,
            run_name=self.run_name,
            tags={"mlflow.note.content": RESEARCH_USE, "git_commit": _git_commit()},
        )
        self.cur_run = run
        (self.folder / _RUN_ID_FILE).write_text(run.info.run_id)
        self._log_settings(run.info.run_id)
        return run

    def _log_settings(self, run_id: str) -> None:
        self._log_params(self.settings.logged_values())
        for split, counts in self.datalist.counts().items():
            self._log_params({_to_key(f"{split}/{name}"): count for name, count in counts.items()})
        digest = self.datalist.digest[:36]
        data = Dataset(name="datalist", digest=digest, source_type="local", source="(not logged)")
        self.client.log_inputs(run_id, [DatasetInput(data)])
        config = yaml.safe_dump(self.settings.logged_config(), sort_keys=False, allow_unicode=True, width=120)
        self.client.log_text(run_id, config, "config/train_resolved.yaml")
        self.client.log_text(run_id, _environment(), "environment.txt")


@idist.one_rank_only()
def log_results(bundle: Bundle, scores: ClassificationScores | None, metrics: Mapping[str, float]) -> None:
    """Log figures, weights, decisions and `val_best/...` metrics to the run of a run folder, and close it.

    The scores and metrics are those of the validation split with the best weights. A segmentation has no
    scores, and no figures.
    """
    run_id = read_run_id(bundle.root)
    if run_id not in _unfinished:
        logger.info("%s has no open MLflow run, so the results are not logged.", bundle.root)
        return
    client = _unfinished[run_id]
    if scores is not None:
        _log_figures(bundle, scores, client, run_id)
    for path in bundle.model_files:
        if path.is_file():
            client.log_artifact(run_id, str(path), "models" if path.stem == "model" else path.stem)
    for name, value in metrics.items():
        client.log_metric(run_id, _to_key(f"val_best/{name}"), value)
    client.set_terminated(run_id)
    del _unfinished[run_id]


def _log_figures(
    bundle: Bundle, scores: ClassificationScores, client: mlflow.MlflowClient, run_id: str
) -> None:
    labels, names = scores.labels, scores.class_names
    calibrated = Calibration.load(bundle.calibration_path).apply(scores.probabilities)
    decisions = decide(calibrated, OperatingPoint.load(bundle.operating_point_path))
    counts = confusion_matrix(labels, decisions, labels=range(len(names)))
    figure = plot_confusion_matrix(counts, names, title="Validation split, thresholds chosen on it")
    client.log_figure(run_id, figure, "figures/validation_confusion_matrix.png")
    figure = plot_roc(labels, calibrated, names, title="ROC, validation split")
    client.log_figure(run_id, figure, "figures/validation_roc.png")


def log_evaluation(texts: Mapping[str, str], *, bundle_root: Path, metrics: Mapping[str, float]) -> bool:
    """Add files (`evaluation/NAME`) and metrics (`test/...`) to the MLflow run that trained the bundle.

    The files are given by their content, and hold names and images of patients only if the user asks for
    them. Return whether the store has the run; a bundle without it is no error.
    """
    run_id, file = read_run_id(bundle_root), _store_file()
    # A query would make an empty database where there is none.
    if run_id is None or (file is not None and not file.is_file()):
        return False
    client = mlflow.MlflowClient(_store_uri())
    try:
        client.get_run(run_id)
    except mlflow.MlflowException:
        return False
    for name, text in texts.items():
        client.log_text(run_id, text, f"evaluation/{name}")
    for name, value in metrics.items():
        client.log_metric(run_id, f"test/{name}", value)
    return True


def read_run_id(folder: Path) -> str | None:
    """Return the id of the MLflow run of a run folder; None if it has none."""
    path = folder / _RUN_ID_FILE
    return path.read_text().strip() if path.is_file() else None


def _store_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or _DEFAULT_STORE


def _store_file() -> Path | None:
    """Return the database of a local store; None for a server."""
    uri = _store_uri()
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _make_private_store() -> None:
    """Make database and artifact folder of a local store, so that only the owner can read them."""
    if file := _store_file():
        artifacts = file.parent / "mlruns"  # where MONAI's handler keeps them
        make_private_folder(artifacts)
        keep_private(artifacts)
        keep_private(file)


@atexit.register
def _terminate_unfinished() -> None:
    for run_id, client in list(_unfinished.items()):
        _terminate(run_id, client, getattr(sys, "last_value", None))


def _terminate(run_id: str, client: mlflow.MlflowClient, error: BaseException | None) -> None:
    """Mark a run as failed, or as killed if a person stopped it.

    If the store cannot be written, a warning says so: that error must not hide why the run ended.
    """
    _unfinished.pop(run_id, None)
    by_hand = isinstance(error, KeyboardInterrupt | SystemExit)
    status = RunStatus.to_string(RunStatus.KILLED if by_hand else RunStatus.FAILED)
    try:
        client.set_terminated(run_id, status)
    except mlflow.MlflowException as store_error:
        logger.warning("The MLflow run cannot be marked as %s: %s", status, first_line(store_error))


def _to_key(name: str) -> str:
    """Return a name with a class in it as MLflow allows it: other characters as their number.

    >>> _to_key("val/auroc/non-COVID"), _to_key("training/PCR+"), _to_key("training/a/./b")
    ('val/auroc/non-COVID', 'training/PCR_2b_', 'training/a/_2e_/b')
    """
    return re.sub(r"[^\w ./-]|(?<=/)[./]|/$", lambda sign: f"_{ord(sign[0]):x}_", name)


def _git_commit() -> str:
    """Return the commit of the source checkout, "-dirty" if it has changes; "unknown" without a checkout."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        folder = Path(__file__).resolve().parent
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _environment() -> str:
    names = {f"{package.metadata['Name']}=={package.version}" for package in distributions()}
    return "\n".join(sorted(names, key=str.lower)) + "\n"
