"""What is refused before a training starts: settings and splits that would make it worthless."""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from covid_monai.bundle.composed_config import composed_config, fill_in_values
from covid_monai.core.errors import unknown_choice
from covid_monai.core.number_format import format_count
from covid_monai.training.batches import PRECISIONS
from covid_monai.training.dataset import CACHES
from covid_monai.training.sampling import BALANCES

logger = logging.getLogger("covid_monai.training")
# Smallest value of a whole number.
_MAY_BE_NULL = ("num_workers", "cpu_threads")
_SMALLEST = {
    **dict.fromkeys(["max_epochs", "val_interval", "batch_size", "world_size", *_MAY_BE_NULL], 1),
    **dict.fromkeys(["seed", "patience", "freeze_epochs", "phantoms", "ct_slices", "rank"], 0),
    "image_size": 32,  # all networks halve the image five times
}
_PROBABILITIES = ("border_probability", "flip_probability", "no_chest_probability")
_NOT_NEGATIVE = ("weight_decay", "max_norm", "backbone_factor")
_SHARES = ("label_smoothing", "ema_decay", "adult_share")
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "learning_rate": ("above 0", lambda value: value > 0),
    **dict.fromkeys(_NOT_NEGATIVE, ("of 0 or more", lambda value: value >= 0)),
    **dict.fromkeys(
        ["label_smoothing", "ema_decay", "adult_share"], ("in [0, 1)", lambda value: 0 <= value < 1)
    ),
    **dict.fromkeys(_PROBABILITIES, ("in [0, 1]", lambda value: 0 <= value <= 1)),
}
_CHOICES = {"precision": PRECISIONS, "cache": CACHES, "balance": BALANCES}


def check_settings(resolved_ids: Mapping[str, Any], device: torch.device) -> None:
    """Refuse values of the settings of train.yaml with which nothing would be learned, chosen or kept.

    Raises:
        ValueError: All wrong values, each with what it may be.
    """
    values = fill_in_values(composed_config(resolved_ids), resolved_ids)
    # What an overlay computes in an expression is known when it is used.
    settings = {name: value for name, value in values.items() if not str(value).startswith("$")}
    problems = [text for name, value in settings.items() if (text := _wrong_number(name, value))]
    problems += [
        unknown_choice(name, str(settings[name]), choices)
        for name, choices in _CHOICES.items()
        if name in settings and settings[name] not in choices
    ]
    if str(settings.get("resume", False)).lower() not in ("true", "false"):
        problems.append(f"resume is {settings['resume']!r}. Write true or false.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        problems.append(f"device is {device}, which PyTorch does not find. Choose another, such as cpu.")
    if settings.get("precision") == "fp16" and device.type != "cuda":
        problems.append("precision is fp16, which needs CUDA. Choose bf16 or fp32 on this device.")
    if settings.get("adult_share") and settings.get("balance") != "sources":
        problems.append(
            f"adult_share is {settings['adult_share']}, and balance is {settings.get('balance')}, which "
            "draws no shares. Choose balance sources."
        )
    if not problems and settings.get("val_interval", 1) > settings.get("max_epochs", math.inf):
        problems.append(
            f"val_interval is {settings['val_interval']} and max_epochs is {settings['max_epochs']}, so the "
            "training would end without a validation and keep no weights. Choose a val_interval of at most "
            f"{settings['max_epochs']}."
        )
    if not problems and 0 < settings.get("patience", 0) < settings.get("val_interval", 1):
        problems.append(
            f"patience is {settings['patience']} and val_interval is {settings['val_interval']}, so the "
            "training would stop before its second validation. Choose a patience of at least val_interval, "
            "or 0."
        )
    if problems:
        raise ValueError(" ".join(problems))


def _wrong_number(name: str, value: Any) -> str | None:
    """Return what is wrong with a setting; None if nothing is, or if it is no number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if name in _RANGES:
        words, is_right = _RANGES[name]
        if is_number and is_right(value):
            return None
        hint = " YAML reads 1e-3 as a word: write 0.001." if re.fullmatch(r"\d+[eE]-?\d+", str(value)) else ""
        return f"{name} is {value!r}. Give a number {words}.{hint}"
    if name not in _SMALLEST or (value is None and name in _MAY_BE_NULL):
        return None
    right = is_number and isinstance(value, int) and value >= _SMALLEST[name]
    return None if right else f"{name} is {value!r}. Give a whole number of {_SMALLEST[name]} or more."


def check_records(
    train_records: Sequence[dict],
    val_records: Sequence[dict],
    *,
    class_names: Sequence[str],
    batch_size: int,
    world_size: int = 1,
) -> None:
    """Refuse splits on which nothing could be learned or chosen, before anything is decoded.

    A batch that holds the whole training split is only warned of: small trials are run that way.

    Raises:
        ValueError: There are fewer than two classes, a class has no training or no validation image, a split
            shows fewer than two patients, or there are fewer images than processes.
    """
    if len(class_names) < 2:
        raise ValueError(
            f"The datalist has one class only, {', '.join(class_names)}, and a classifier tells two apart. "
            "Prepare the datalist with images of another class."
        )
    for split, records in (("training", train_records), ("validation", val_records)):
        counts = Counter(record["label"] for record in records)
        missing = [name for label, name in enumerate(class_names) if not counts[label]]
        if missing:
            raise ValueError(
                f"The {split} split has no image of class {', '.join(missing)}. Prepare the datalist with "
                "another --validation-fraction, with more patients of the class, or without it (--classes)."
            )
    _check_sizes(train_records, val_records, batch_size=batch_size, world_size=world_size)


def check_mask_records(
    train_records: Sequence[dict], val_records: Sequence[dict], *, batch_size: int, world_size: int = 1
) -> None:
    """Refuse splits on which no segmentation could be learned or chosen, before anything is decoded.

    Raises:
        ValueError: An image has no mask, a split shows fewer than two patients, or there are fewer images
            than processes.
    """
    without = [record["image"] for record in (*train_records, *val_records) if not record.get("mask")]
    if without:
        raise ValueError(
            f"{format_count(len(without), 'image')} without a mask, the first is {without[0]}. Give a "
            "datalist whose records have `mask`, such as that of `covid-monai data prepare lung-masks`."
        )
    _check_sizes(train_records, val_records, batch_size=batch_size, world_size=world_size)


def _check_sizes(
    train_records: Sequence[dict], val_records: Sequence[dict], *, batch_size: int, world_size: int
) -> None:
    for split, records in (("training", train_records), ("validation", val_records)):
        if len({record["patient"] for record in records}) < 2:
            raise ValueError(
                f"All images of the {split} split show one patient, so nothing that is learned or chosen on "
                "them holds for another. Prepare the datalist with more patients."
            )
        if len(records) < world_size:
            raise ValueError(
                f"The {split} split has {len(records)} images for {world_size} processes. Start fewer."
            )
    if len(train_records) // world_size < batch_size:
        logger.warning(
            "The training split has %d images per process, fewer than one batch of %d: an epoch is one step. "
            "Choose a smaller batch_size, or more max_epochs.",
            *(len(train_records) // world_size, batch_size),
        )
