"""The learning-rate range test as a run of its own: `python -m monai.bundle run find_lr`."""

import csv
import logging
from pathlib import Path

import torch
from matplotlib.figure import Figure
from monai.optimizers import LearningRateFinder
from torch import nn
from torch.utils.data import DataLoader

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.training.steps import PRECISIONS, PrepareClassificationBatch

logger = logging.getLogger("covid_monai.training")


def find_learning_rate(
    *,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: nn.Module,
    dataloader: DataLoader,
    prepare_batch: PrepareClassificationBatch,
    precision: str,
    device: torch.device,
    output_dir: str | Path,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 60,
) -> float:
    """Raise the learning rate from batch to batch and find where the loss falls fastest.

    Writes `learning_rates.csv` and `learning_rates.png` to `output_dir` and leaves the network as it was.

    Returns:
        The learning rate of the steepest descent; a sound `--learning_rate` lies there or a little below.

    Reference: Smith, Cyclical learning rates for training neural networks, WACV 2017.
    """
    finder = LearningRateFinder(network, optimizer, loss, device=device)
    with torch.autocast(device.type, dtype=PRECISIONS[precision], enabled=precision != "fp32"):
        finder.range_test(
            dataloader,
            image_extractor=lambda batch: prepare_batch(batch, device)[0],
            start_lr=lowest,
            end_lr=highest,
            num_iter=steps,
        )
    rates, losses = finder.get_lrs_and_losses()
    # The first steps only warm the smoothed loss up.
    best, _ = finder.get_steepest_gradient(skip_start=min(5, len(rates) // 4))
    if best is None:
        raise ValueError("the loss diverged at once: no learning rate can be read off; check the data")
    _write(Path(output_dir), rates, losses, finder)
    logger.info("Steepest descent at learning rate %.2g; the curve is in %s.", best, output_dir)
    return best


def _write(folder: Path, rates: list[float], losses: list[float], finder: LearningRateFinder) -> None:
    with replace_atomically(folder / "learning_rates.csv") as path, path.open("w", newline="") as file:
        csv.writer(file).writerows([("learning_rate", "loss"), *zip(rates, losses, strict=True)])
    figure = Figure(figsize=(6, 4), layout="constrained")
    finder.plot(ax=figure.add_subplot())
    with replace_atomically(folder / "learning_rates.png") as path:
        figure.savefig(path, format="png")
