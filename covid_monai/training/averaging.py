"""One network of several runs: the mean of their weights."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint


def average_runs(
    runs: Sequence[str | Path],
    output: str | Path,
    like: Bundle,
    *,
    batches: Iterable[Any],
    prepare_batch: Callable[..., tuple[Tensor, Tensor]],
    device: torch.device | str,
) -> None:
    """Write a bundle whose weights are the mean of those of runs that began with the same weights.

    Such a mean ("model soup", Wortsman et al. 2022) needs no more time or memory than one network, and
    depends less on the chance of one run. The runs must have the same `seed`, which sets the first weights of
    the head, and differ in `draw_seed`. Batch-norm statistics are those of the mean network on training
    batches (Izmailov et al. 2018), because the mean of the runs' own does not fit it. Thresholds and the like
    are to be fitted again.

    Args:
        runs: Two or more run folders.
        output: Folder that becomes the bundle; it must not exist.
        like: Bundle with the classes, the size and the network of the runs.
        batches: Batches of the training, for the batch-norm statistics.
        prepare_batch: Function that gives images `[N, 1, H, W]` and labels of a batch and a device.
        device: Device of the network.

    Raises:
        ValueError: Fewer than two runs.
        FileExistsError: The output folder exists.
        FileNotFoundError: A run has no weights.
        CheckpointError: A run has another preprocessing, other classes or another network.
    """
    if len(runs) < 2:
        raise ValueError("average_of needs two or more run folders, such as \"['runs/0','runs/1']\".")
    if (output := Path(output)).exists():
        raise FileExistsError(f"{output} exists already. Give another --output_dir.")
    paths = [Path(run) / "models" / "model.pt" for run in runs]
    for path in paths:
        like.load_weights(like.build_network(), path)  # refuses what does not fit
    contents = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    states = [content["model"] for content in contents]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    worst = max(content["metric"] for content in contents)
    content = {**contents[0], "metric": worst}
    network = like.build_network()
    network.load_state_dict(mean)
    update_bn((prepare_batch(batch, device)[0] for batch in batches), network.to(device))
    content["model"] = {name: value.cpu() for name, value in network.state_dict().items()}
    bundle = like.copy_to(output)
    save_checkpoint(content, bundle.checkpoint_path)
