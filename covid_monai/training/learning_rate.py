"""The learning-rate range test: `python -m monai.bundle run find_lr`."""

import logging
from pathlib import Path

import torch
from matplotlib.figure import Figure
from monai.optimizers import LearningRateFinder
from torch import nn
from torch.utils.data import DataLoader

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.tables import write_table
from covid_monai.training.batches import PRECISIONS, PrepareImageBatch

logger = logging.getLogger("covid_monai.training")
_LOWEST, _HIGHEST, _STEPS = 1e-6, 1.0, 60  # learning rates of the first and last batch, number of batches


def find_learning_rate(
    *,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: nn.Module,
    dataloader: DataLoader,
    prepare_batch: PrepareImageBatch,
    precision: str,
    device: torch.device,
    output_dir: str | Path,
) -> float:
    """Raise the learning rate from batch to batch and find where the loss falls fastest.

    Write `learning_rates.csv` and `learning_rates.png` to `output_dir`, and leave the network as it was. The
    arguments are the parts of a training at its start. A good `--learning_rate` is the returned one, or a
    little below it.

    Reference: Smith, Cyclical learning rates for training neural networks, WACV 2017.
    """
    finder = LearningRateFinder(network, optimizer, loss, device=device)
    with torch.autocast(device.type, dtype=PRECISIONS[precision], enabled=precision != "fp32"):
        finder.range_test(
            dataloader,
            image_extractor=lambda batch: prepare_batch(batch, device)[0],
            start_lr=_LOWEST,
            end_lr=_HIGHEST,
            num_iter=_STEPS,
        )
    rates, losses = finder.get_lrs_and_losses()
    # The first steps only warm the smoothed loss up.
    best, _ = finder.get_steepest_gradient(skip_start=min(5, len(rates) // 4))
    if best is None:
        raise ValueError(
            "The loss diverged at once, so that no learning rate can be found. Check the images and labels."
        )
    curve = zip(rates, losses, strict=True)
    write_table(Path(output_dir) / "learning_rates.csv", ("learning_rate", "loss"), curve)
    figure = Figure(figsize=(6, 4), layout="constrained")
    finder.plot(ax=figure.add_subplot())
    with replace_atomically(Path(output_dir) / "learning_rates.png") as path:
        figure.savefig(path, format="png")
    logger.info("The loss falls fastest at learning rate %.2g. The curve is in %s.", best, output_dir)
    return best
