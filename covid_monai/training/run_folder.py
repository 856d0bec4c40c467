"""The folder of one training run: a bundle with the best weights, and the state to continue from."""

import logging
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from covid_monai.bundle import Bundle, save_atomically

logger = logging.getLogger(__name__)


class RunFolder:
    """Keep a run's best weights and everything that the next epoch depends on.

    `models/model.pt` is the best network by the evaluator's key metric; `models/last.pt` is the state
    after the last complete epoch. Both are replaced in one step, so a process that is killed leaves a
    usable folder, and the epoch that was cut off is run again from the same seeds (see `SeedEpoch`).

    Args:
        folder: The run's own; refused if it holds a run already and `resume` is false.
        bundle: With this run's settings; its configs are copied here, so that the folder is a bundle.
        network: What is kept as the run's model, without any parallel wrapper.
        evaluator: MONAI keeps the best key metric in its state.
        stateful: Name to object with `state_dict` and `load_state_dict`: trained network, optimizer...
        settings: What a resumed run must share with its first part (data, network, schedule).
        resume: Continue from `models/last.pt`; without one, start from the beginning.
        rank: Only rank 0 writes.

    Raises:
        FileExistsError: If the folder holds a run and `resume` is false.
        ValueError: If the run there had other settings, which are named; nothing is changed then.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        bundle: Bundle,
        network: nn.Module,
        evaluator: Engine,
        stateful: dict[str, Any],
        settings: dict[str, Any],
        resume: bool = False,
        rank: int = 0,
    ) -> None:
        self.folder = Path(folder)
        self.network = network
        self.evaluator = evaluator
        self.stateful = stateful
        self.settings = settings
        self.resume = resume
        self.rank = rank
        self._source = bundle
        self._check_folder()
        # A folder with a state has its configs too, and a refused resume must not change them.
        if rank == 0 and not self.last_path.exists():
            bundle.copy_to(self.folder)

    @property
    def last_path(self) -> Path:
        """State after the last complete epoch."""
        return self.folder / "models" / "last.pt"

    @property
    def bundle(self) -> Bundle:
        """The run's folder as a bundle."""
        return Bundle(self.folder)

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after the validation handler."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, trainer: Engine) -> None:
        """Write the best weights if this epoch is the best, then the whole state."""
        if self.rank != 0:
            return
        best, epoch = self.evaluator.state, trainer.state.epoch
        if best.best_metric_epoch == epoch:
            found = {"epoch": epoch, "metric": float(best.best_metric)}
            save_atomically(self._source.checkpoint(self.network) | found, self.bundle.checkpoint_path)
        content = {
            "epoch": epoch,
            "best_metric": best.best_metric,
            "best_metric_epoch": best.best_metric_epoch,
            "settings": self.settings,
        }
        parts = {name: part.state_dict() for name, part in self._parts(trainer).items()}
        save_atomically(content | parts, self.last_path)

    def load(self, trainer: Engine) -> None:
        """Continue from `models/last.pt`, if asked to and if it is there."""
        if not self.resume:
            return
        if not self.last_path.exists():
            logger.info("No complete epoch in %s yet: starting from the beginning.", self.folder)
            return
        content = torch.load(self.last_path, map_location=trainer.state.device, weights_only=True)
        for name, part in self._parts(trainer).items():
            part.load_state_dict(content[name])
        trainer.state.epoch = content["epoch"]
        trainer.state.iteration = trainer.state.epoch * trainer.state.epoch_length
        self.evaluator.state.best_metric = content["best_metric"]
        self.evaluator.state.best_metric_epoch = content["best_metric_epoch"]
        logger.info("Continuing %s after epoch %d.", self.folder, trainer.state.epoch)

    def _parts(self, trainer: Engine) -> dict[str, Any]:
        # MONAI makes the gradient scaler when the run starts.
        scaler = {} if trainer.scaler is None else {"scaler": trainer.scaler}
        return self.stateful | scaler

    def _check_folder(self) -> None:
        if self.folder.resolve() == self._source.root.resolve():
            raise ValueError(f"{self.folder} is the bundle itself; give another --output_dir")
        holds_run = self.last_path.exists() or (self.folder / "models" / "model.pt").exists()
        if holds_run and not self.resume:
            raise FileExistsError(
                f"{self.folder} already holds a training run. Add --resume true to continue it, or give "
                "another --output_dir."
            )
        if self.last_path.exists():
            earlier = torch.load(self.last_path, map_location="cpu", weights_only=True, mmap=True)
            self._check_settings(earlier["settings"])

    def _check_settings(self, earlier: dict[str, Any]) -> None:
        changed = sorted(key for key in self.settings if self.settings[key] != earlier.get(key))
        if changed:
            listing = "; ".join(f"{key} was {earlier.get(key)}, now {self.settings[key]}" for key in changed)
            raise ValueError(
                f"{self.folder} was trained with other settings ({listing}). Resume with the same ones, or "
                "train into another --output_dir."
            )
