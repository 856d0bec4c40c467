"""The folder of one training run: a bundle with the best weights, and the state to continue from."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.bundle.composed_config import composed_config, fill_in_values, is_plain

logger = logging.getLogger(__name__)
_NOT_LOGGED = "(not logged)"
_PUBLIC = (None, "imagenet")  # values of settings that otherwise hold a path
_PATH_IN_EXPRESSION = re.compile(r"""(["'])[^"']*[/\\].*?\1""")


def list_changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in words which settings differ; empty if none does.

    >>> list_changes({"seed": 0, "batch_size": 8}, {"seed": 1, "batch_size": 8})
    'seed was 0, now 1'
    """
    changed = sorted(key for key in {*now, *earlier} if now.get(key) != earlier.get(key))
    return "; ".join(f"{key} was {earlier.get(key)}, now {now.get(key)}" for key in changed)


@dataclass(frozen=True)
class RunSettings:
    """Top-level values of the config, with overlays and the command line applied.

    Args:
        resolved_ids: Everything that MONAI's parser has resolved, by id; read when it is needed, because the
            parser resolves an id when it is used for the first time.
        digests: Digests of what the settings only name, such as the datalist.
        may_differ: Ids that a resumed run need not share with its first part.
        not_logged: Ids of paths, which can name a person.
    """

    resolved_ids: Mapping[str, Any]
    digests: Mapping[str, str]
    may_differ: Sequence[str]
    not_logged: Sequence[str]

    def values(self) -> dict[str, Any]:
        """Return all settings that are numbers, words, switches, empty, or lists of these."""
        plain = {key: value for key, value in self.resolved_ids.items() if is_plain(value)}
        return {key: value for key, value in plain.items() if "::" not in key} | dict(self.digests)

    def shared(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share with its first part."""
        return {key: value for key, value in self.values().items() if key not in self.may_differ}

    def logged_values(self) -> dict[str, Any]:
        """Return the settings that cannot name a person: all but paths."""
        return self._without_paths(self.values())

    def logged_config(self) -> dict[str, Any]:
        """Return the whole config without paths and records.

        References and expressions are replaced by their values where these are plain.
        """
        plain = {key: value for key, value in self.resolved_ids.items() if is_plain(value)}
        config = fill_in_values(composed_config(self.resolved_ids), self._without_paths(plain))
        return {key: self._hide_paths(value, key) for key, value in config.items()} | dict(self.digests)

    def _without_paths(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if self._hide_paths(value, key) == value}

    def _hide_paths(self, value: Any, item_id: str = "") -> Any:
        """Replace each text that is a path; whatever holds a separator counts as one, except a class name."""
        if item_id in self.not_logged:
            return value if value in _PUBLIC else _NOT_LOGGED
        if isinstance(value, dict):
            is_record = not value.keys().isdisjoint(("image", "patient")) and "_target_" not in value
            return _NOT_LOGGED if is_record else {key: self._hide_paths(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._hide_paths(each) for each in value]
        if not isinstance(value, str) or value in self.resolved_ids.get("class_names", ()):
            return value
        is_expression = value.startswith("$")
        is_path = _PATH_IN_EXPRESSION.search(value) if is_expression else "/" in value or "\\" in value
        return _NOT_LOGGED if is_path else value


@dataclass(kw_only=True, eq=False, repr=False)
class RunFolder:
    """Keep a run's best weights and everything that the next epoch depends on.

    `models/model.pt` holds the best network by the evaluator's key metric. `models/last.pt` holds the state
    after the last complete epoch. Each file is replaced in one step, so that a killed process leaves a usable
    folder. The interrupted epoch is run again from the same seeds (see `SeedEpoch`). Only the first process
    writes.

    Args:
        folder: Folder of this run alone; if it holds a run, `resume` must be true.
        bundle: Bundle with the settings of this run. Its configs are copied to the folder, which thus is a
            bundle, too.
        network: Network that is kept, without any parallel wrapper.
        evaluator: Evaluator whose state has the best key metric.
        stateful: Name to object with `state_dict` and `load_state_dict`: networks, optimizer, schedule.
        settings: Settings of the run.
        resume: Whether to continue from `models/last.pt`; without that file the run starts anew.

    Raises:
        FileExistsError: If the folder holds a run and `resume` is false.
        ValueError: If the folder is the bundle itself.
    """

    folder: Path
    bundle: Bundle
    network: nn.Module
    evaluator: Any
    stateful: dict[str, Any]
    settings: RunSettings
    resume: bool = False

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        self.last_path = self.folder / "models" / "last.pt"
        self.best_path = self.folder / "models" / "model.pt"
        self._check_folder()
        # A folder with a state has its configs too, and a refused resume must not change them.
        if idist.get_rank() == 0 and not self.last_path.exists():
            self.bundle.copy_to(self.folder)

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; list this handler after the validation handler."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    @idist.one_rank_only()
    def save(self, trainer: Any) -> None:
        """Write the network if this epoch is the best, then the whole state."""
        best, epoch = self.evaluator.state, trainer.state.epoch
        if best.best_metric_epoch == epoch:
            result = {"epoch": epoch, "metric": float(best.best_metric)}
            save_checkpoint(self.bundle.checkpoint(self.network) | result, self.best_path)
        content = {
            "epoch": epoch,
            "best_metric": best.best_metric,
            "best_metric_epoch": best.best_metric_epoch,
            "settings": self.settings.shared(),
        }
        parts = {name: part.state_dict() for name, part in self._parts(trainer).items()}
        save_checkpoint(content | parts, self.last_path)

    def load(self, trainer: Any) -> None:
        """Continue from `models/last.pt` if the run is resumed, the file is there and the settings agree."""
        if not self.resume:
            return
        if not self.last_path.exists():
            logger.info("%s has no complete epoch yet. The run starts from the beginning.", self.folder)
            return
        content = torch.load(self.last_path, map_location=trainer.state.device, weights_only=True)
        self._check_settings(content["settings"])
        for name, part in self._parts(trainer).items():
            part.load_state_dict(content[name])
        trainer.state.epoch = content["epoch"]
        trainer.state.iteration = trainer.state.epoch * trainer.state.epoch_length
        self.evaluator.state.best_metric = content["best_metric"]
        self.evaluator.state.best_metric_epoch = content["best_metric_epoch"]
        logger.info("Continuing %s after epoch %d.", self.folder, trainer.state.epoch)

    def _parts(self, trainer: Any) -> dict[str, Any]:
        # MONAI makes the gradient scaler when the run starts.
        return self.stateful | ({"scaler": trainer.scaler} if trainer.scaler else {})

    def _check_folder(self) -> None:
        if self.folder.is_file():
            raise FileExistsError(f"{self.folder} is a file. Give another output folder.")
        if self.folder.resolve() == self.bundle.root.resolve():
            raise ValueError(f"{self.folder} is the bundle itself. Give another --output_dir.")
        if (self.last_path.exists() or self.best_path.exists()) and not self.resume:
            raise FileExistsError(
                f"{self.folder} already holds a training run. Continue it (covid-monai train --resume, or "
                "--resume true for monai.bundle), or give another output folder."
            )

    def _check_settings(self, earlier: dict[str, Any]) -> None:
        if listing := list_changes(earlier, self.settings.shared()):
            raise ValueError(
                f"{self.folder} was trained with other settings ({listing}). Resume with the same settings, "
                "or train into another --output_dir."
            )
