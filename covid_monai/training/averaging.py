"""One network of several runs: the mean of their weights."""

from collections.abc import Sequence
from pathlib import Path

import torch

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint


def average_runs(runs: Sequence[str | Path], output: str | Path, like: Bundle) -> None:
    """Write a bundle whose weights are the mean of those of runs that began with the same weights.

    Such a mean ("model soup", Wortsman et al. 2022) needs no more time or memory than one network, and
    depends less on the chance of one run. The runs must have the same `seed`, which sets the first weights of
    the head, and differ in `draw_seed`. Thresholds and the like are to be fitted again.

    Args:
        runs: Two or more run folders.
        output: Folder that becomes the bundle; it must not exist.
        like: Bundle with the classes, the size and the network of the runs.

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
    content = {**contents[0], "model": mean, "metric": worst}
    bundle = like.copy_to(output)
    save_checkpoint(content, bundle.checkpoint_path)
