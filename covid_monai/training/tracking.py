"""One MLflow run per training: settings, data, curves, pictures, weights, environment.

The only module that imports mlflow.
"""

import inspect
import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

# A hospital's run must not report to anyone; set before the import, overridable from outside.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import torch
import yaml
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from mlflow.entities import Dataset, DatasetInput, RunStatus
from monai.bundle import ConfigParser
from monai.handlers import MLFlowHandler

from covid_monai.core.errors import first_line
from covid_monai.core.sigint import defer_sigint
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.datasets.datalist import Datalist

logger = logging.getLogger("covid_monai.training")
_DEFAULT_STORE = "sqlite:///mlruns.db"
_STOPPED_BY_HAND = 130  # as a shell reports SIGINT


class RunTracker(MLFlowHandler):
    """Log a training run to MLflow; MONAI's handler opens the store and writes the values.

    Unlike MONAI's own choice of "the latest unfinished run of that name", a run belongs to one output
    folder: a resumed run continues its own, a new one starts its own.

    Args:
        experiment_name: The bundle's name.
        run_name: The output folder's name.
        settings: Logged as parameters.
        datalist: Its digest and counts are logged; the file, which names patients, is not.
        evaluator: Whose metrics are the validation metrics.
        rank: Only rank 0 logs.
        tracking_uri: None for `MLFLOW_TRACKING_URI`, or without it `sqlite:///mlruns.db` in the current
            folder.
    """

    def __init__(
        self,
        *,
        experiment_name: str,
        run_name: str,
        settings: Mapping[str, Any],
        datalist: Datalist,
        evaluator: Engine,
        rank: int = 0,
        tracking_uri: str | None = None,
    ) -> None:
        if rank == 0:  # several processes would create the database at the same time
            super().__init__(tracking_uri, experiment_name=experiment_name, run_name=run_name)
        self.settings = dict(settings)
        self.datalist = datalist
        self.evaluator = evaluator
        self.rank = rank
        self._config = _running_config()
        self._run_id = ""

    def state_dict(self) -> dict[str, str]:
        """The run's id, for the checkpoint."""
        return {"run_id": self._run_id}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Continue an earlier run."""
        self._run_id = state["run_id"]

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after those that restore and save the run."""
        if self.rank == 0:
            engine.add_event_handler(Events.STARTED, self.start)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
            engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    @defer_sigint()
    def start(self, engine: Engine) -> None:
        """Open the run, or continue the one that the checkpoint names."""
        self._set_experiment()
        if self._run_id and self._is_known(self._run_id):
            self.client.update_run(self._run_id, status=RunStatus.to_string(RunStatus.RUNNING))
            self.cur_run = self.client.get_run(self._run_id)
            return
        self.cur_run = self.client.create_run(
            self.experiment.experiment_id,
            run_name=self.run_name,
            tags={"mlflow.note.content": RESEARCH_USE, "git_commit": _git_commit()},
        )
        self._run_id = self.cur_run.info.run_id
        self._log_settings()

    @defer_sigint()
    def epoch_completed(self, engine: Engine) -> None:
        """Log `train/...` and `val/...` of the epoch."""
        rates = [group["lr"] for group in engine.optimizer.param_groups]
        train = {f"train/{name}": value for name, value in engine.state.metrics.items()}
        seen = self.evaluator.state
        # After an epoch without validation the evaluator still holds the figures of the last one.
        current = seen.metrics if seen.epoch == engine.state.epoch else {}
        val = {f"val/{name}": value for name, value in current.items()}
        self._log_metrics({**train, **val, "train/learning_rate": max(rates)}, step=engine.state.epoch)

    def fail(self, engine: Engine, error: BaseException) -> None:
        """Mark the run as failed and let the error go on; Ctrl-C ends the program without a traceback."""
        self.abort(error)
        if isinstance(error, KeyboardInterrupt):
            logger.warning(
                "Stopped in epoch %d. To go on after the last whole one, add --resume true to the command.",
                engine.state.epoch,
            )
            raise SystemExit(_STOPPED_BY_HAND) from None
        raise error

    def abort(self, error: BaseException) -> None:
        """Mark the run as failed, or as killed when a person stopped it.

        A store that cannot be written to is only warned of: it must not hide why the run ended.
        """
        by_hand = isinstance(error, KeyboardInterrupt | SystemExit)
        status = RunStatus.to_string(RunStatus.KILLED if by_hand else RunStatus.FAILED)
        if self.rank != 0 or self.cur_run is None:
            return
        try:
            self.client.set_terminated(self._run_id, status)
        except mlflow.MlflowException as problem:
            logger.warning("The MLflow run could not be marked as %s: %s", status, first_line(problem))

    def finish(
        self, *, figures: Mapping[str, Figure], files: Mapping[str, Path], metrics: Mapping[str, float]
    ) -> None:
        """Log what the finished run has produced and close it.

        Args:
            figures: Name without suffix to picture, kept under `figures/`.
            files: Path in the artifacts' folder, such as "models", to a file.
            metrics: Final values, such as `val_best/auroc`.
        """
        if self.rank != 0:
            return
        for name, figure in figures.items():
            self.client.log_figure(self._run_id, figure, f"figures/{name}.png")
        for folder, path in files.items():
            self.client.log_artifact(self._run_id, path, folder)
        self._log_metrics(dict(metrics))
        self.close()

    def _log_settings(self) -> None:
        counts = {
            f"{split}/{name}": count
            for split, classes in self.datalist.counts().items()
            for name, count in classes.items()
        }
        self._log_params(self.settings | {"datalist_digest": self.datalist.digest} | counts)
        data = Dataset(
            name=self.datalist.path.stem,
            digest=self.datalist.digest[:36],
            source_type="local",
            source=str(self.datalist.path.resolve()),
        )
        self.client.log_inputs(self._run_id, [DatasetInput(data)])
        self.client.log_text(
            self._run_id, yaml.safe_dump(self._config, sort_keys=False), "config/train_resolved.yaml"
        )
        self.client.log_text(self._run_id, _environment(), "environment.txt")

    def _is_known(self, run_id: str) -> bool:
        try:
            return self.client.get_run(run_id).info.lifecycle_stage == "active"
        except mlflow.MlflowException:
            return False  # another store than last time: a new run there


def log_evaluation(
    files: Sequence[Path], *, bundle_root: Path, metrics: Mapping[str, float], tracking_uri: str | None = None
) -> bool:
    """Add the files of an evaluation to the MLflow run that trained the bundle.

    Args:
        files: Kept under `evaluation/`; none of them may name a patient.
        bundle_root: The output folder of a training; its `models/last.pt` names the run.
        metrics: Logged as `test/...`.
        tracking_uri: As `RunTracker`.

    Returns:
        Whether the run was found in the store. A bundle that came without its run is no error.
    """
    state_path = bundle_root / "models" / "last.pt"
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or _DEFAULT_STORE
    # Asking for a run would make an empty database where there is none.
    missing_store = uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file()
    if missing_store or not state_path.is_file():
        return False
    run_id = torch.load(state_path, map_location="cpu", weights_only=True, mmap=True)["tracker"]["run_id"]
    client = mlflow.MlflowClient(uri)
    try:
        client.get_run(run_id)
    except mlflow.MlflowException:
        return False
    for file in files:
        client.log_artifact(run_id, str(file), "evaluation")
    for name, value in metrics.items():
        client.log_metric(run_id, f"test/{name}", value)
    return True


def _running_config() -> dict[str, Any]:
    """The config that is being instantiated, with overrides, and top-level values filled in.

    MONAI gives a config's components no way to see the config, but its parser is on the call stack.
    """
    for frame in inspect.stack():
        parser = frame.frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            resolved = parser.ref_resolver.resolved_content
            plain = (str, int, float, bool, list, type(None))
            known = {
                key: value for key, value in resolved.items() if "::" not in key and isinstance(value, plain)
            }
            return {key: known.get(key, value) for key, value in parser.get().items() if key != "_meta_"}
    return {}


def _git_commit() -> str:
    """Commit of the source checkout, "-dirty" when it has changes; "unknown" for an installed package."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        folder = Path(__file__).resolve().parent
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _environment() -> str:
    names = {f"{package.metadata['Name']}=={package.version}" for package in distributions()}
    return "\n".join(sorted(names, key=str.lower)) + "\n"
