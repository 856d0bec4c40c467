"""One network of several runs: the mean of their weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.training.run_folder import RunSettings, list_changes


def average_runs(
    runs: Sequence[str | Path],
    output: str | Path,
    bundle: Bundle,
    *,
    settings: RunSettings,
    batches: Iterable[Any],
    prepare_batch: Callable[..., tuple[Tensor, Tensor]],
    device: torch.device | str,
) -> None:
    """Write a bundle whose weights are the mean of those of runs that began with the same weights.

    Such a mean ("model soup", Wortsman et al. 2022) needs no more time or memory than one network, and
    depends less on the chance of one run. The runs have the same settings, among them `seed`, which sets the
    first weights of the head, and differ in `draw_seed`. Batch-norm statistics are those of the mean network
    on training batches (Izmailov et al. 2018), because the mean of the runs' own does not fit it. Thresholds
    and the like are to be fitted again.

    Args:
        runs: Two or more run folders.
        output: Folder that becomes the bundle; it must not exist.
        bundle: Bundle with the classes, the size and the network of the runs.
        settings: Settings of this command, which are those of the runs.
        batches: Batches of the training, for the batch-norm statistics.
        prepare_batch: Function that gives images `[N, 1, H, W]` and labels of a batch and a device.
        device: Device of the network.

    Raises:
        ValueError: Fewer than two runs, or runs with other settings, or with the same `draw_seed`.
        FileExistsError: The output folder exists.
        FileNotFoundError: A run has no weights, or no state of its training.
        CheckpointError: A run has another preprocessing, other classes or another network.
    """
    if len(runs) < 2:
        raise ValueError("average_of needs two or more run folders, such as \"['runs/0','runs/1']\".")
    if (output := Path(output)).exists():
        raise FileExistsError(f"{output} exists already. Give another --output_dir.")
    folders = [Path(run) / "models" for run in runs]
    _check_settings(folders, settings.shared())
    network, states = bundle.build_network(), []
    for folder in folders:
        bundle.load_weights(network, folder / "model.pt")  # refuses what does not fit
        states.append({name: value.clone() for name, value in network.state_dict().items()})
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    network.load_state_dict(mean)
    update_bn((prepare_batch(batch, device)[0] for batch in batches), network.to(device))
    best = [torch.load(folder / "model.pt", map_location="cpu", weights_only=True) for folder in folders]
    # The mean network's own loss is known only after this. That of its worst run stands for it.
    result = {key: max(content[key] for content in best) for key in ("epoch", "metric")}
    made = bundle.copy_to(output)
    save_checkpoint(made.checkpoint(network.cpu()) | result, made.checkpoint_path)


def _check_settings(folders: Sequence[Path], now: Mapping[str, Any]) -> None:
    """Refuse runs of other data or settings, whose mean would be no network, or would know the validation."""
    seen: dict[Any, Path] = {}
    for folder in folders:
        path = folder / "last.pt"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing, so the settings of that run are not known. Train it again."
            )
        earlier = torch.load(path, map_location="cpu", weights_only=True)["settings"]
        # What this command does not use, such as the learning rate, it does not know.
        common = {key for key in earlier if key in now} - {"draw_seed"}
        if listing := list_changes({key: earlier[key] for key in common}, {key: now[key] for key in common}):
            raise ValueError(
                f"{folder.parent} was trained with other settings ({listing}). Average runs that differ in "
                "draw_seed alone, and give `run average` their other settings, too."
            )
        draw = earlier["draw_seed"]
        if draw in seen:
            raise ValueError(
                f"{seen[draw].parent} and {folder.parent} have the same draw_seed ({draw}). Average runs "
                "with different ones."
            )
        seen[draw] = folder
