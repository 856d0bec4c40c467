"""How often each image is drawn and how much it counts, in an order that a resumed run repeats."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.utils.data import DistributedSampler

from covid_monai.datasets.datalist import is_child

BALANCES = ("classes", "sources", "none")


def class_weights(records: Sequence[dict], num_classes: int) -> Tensor:
    """Return weights for the loss: inverse to the counts of the classes, with mean 1 over the records.

    Every class needs a record; `check_records` makes sure of that.

    >>> class_weights([{"label": 0}, {"label": 0}, {"label": 0}, {"label": 1}], 2)
    tensor([0.6667, 2.0000])
    """
    labels = [record["label"] for record in records]
    weights = compute_class_weight("balanced", classes=np.arange(num_classes), y=labels)
    return torch.tensor(weights, dtype=torch.float32)


def source_weights(records: Sequence[dict], adult_share: float = 0.0) -> Tensor:
    """Return the probability of drawing each image, such that no source dominates a class.

    Classes are drawn equally often. Within a class a source is drawn in proportion to the square root
    of its images: equal shares would repeat the images of a small source too often. Images without `source`
    are one source.

    Args:
        records: Records of a datalist, see `is_child`; those of unknown age count as adults.
        adult_share: Least share of adults in a class that has adults and children, 0 to below 1. Without it,
            a large collection of children decides what "normal" looks like.

    >>> images = [{"label": 0, "source": "a"}] * 4 + [{"label": 0, "source": "b"}] + [{"label": 1}]
    >>> source_weights(images)
    tensor([0.0833, 0.0833, 0.0833, 0.0833, 0.1667, 0.5000])
    >>> source_weights([{"label": 0, "age": 5.0}] * 4 + [{"label": 0, "age": 40.0}], adult_share=0.6)
    tensor([0.1000, 0.1000, 0.1000, 0.1000, 0.6000])
    """
    cells = [(record["label"], record.get("source")) for record in records]
    counts = Counter(cells)
    share = {cell: count**0.5 for cell, count in counts.items()}
    total = {label: sum(share[cell] for cell in share if cell[0] == label) for label, _ in counts}
    weights = torch.tensor([share[cell] / total[cell[0]] / counts[cell] / len(total) for cell in cells])
    labels = torch.tensor([record["label"] for record in records])
    adults = torch.tensor([not is_child(record) for record in records])
    for label in labels.unique():
        of_adults, of_children = (labels == label) & adults, (labels == label) & ~adults
        found = weights[of_adults].sum() * len(total)
        if 0 < found < adult_share:
            weights[of_adults] *= adult_share / found
            weights[of_children] *= (1 - adult_share) / (1 - found)
    return weights


class EpochSampler(DistributedSampler):
    """Draw images by (seed, epoch) alone, in one process or several, so that there is no state to save.

    Args:
        dataset: Dataset that the indices belong to.
        weights: Probability of drawing each image, with replacement; None shows each once in an epoch.
        seed: Seed, the same in every process.
        rank: Number of this process.
        world_size: Number of processes; each gets its own share.
    """

    def __init__(
        self, dataset: Any, *, weights: Tensor | None = None, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        drop_last = world_size > 1  # padding would show some images twice
        super().__init__(
            dataset, num_replicas=world_size, rank=rank, shuffle=True, seed=seed, drop_last=drop_last
        )
        self.weights = weights

    def __iter__(self) -> Iterator[int]:
        """Return the indices of this process in this epoch."""
        if self.weights is None:
            return super().__iter__()
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        drawn = torch.multinomial(self.weights, self.total_size, replacement=True, generator=generator)
        return iter(drawn[self.rank : self.total_size : self.num_replicas].tolist())
