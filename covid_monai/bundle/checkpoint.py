"""Checkpoint of a bundle: weights, with the preprocessing and the classes that they were trained for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from covid_monai.core.atomic_files import replace_atomically


class CheckpointError(ValueError):
    """A checkpoint does not belong to the network, the classes or the preprocessing of its bundle."""


def load_checkpoint(
    network: nn.Module, path: Path, *, preprocessing_digest: str, class_names: Sequence[str]
) -> None:
    """Load the weights of a `models/model.pt` into a network, or raise: a network never keeps random weights.

    Args:
        network: Network to change in place.
        path: Checkpoint that training wrote.
        preprocessing_digest: Digest that the checkpoint must hold.
        class_names: Classes that the checkpoint must hold, in the order of the outputs.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        CheckpointError: The checkpoint is damaged, or belongs to other preprocessing, classes or network.
    """
    check_exists(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        digest, classes, weights = (content[key] for key in ("preprocessing_digest", "class_names", "model"))
    except Exception as error:  # torch.load raises many types for a damaged file
        raise CheckpointError(
            f"The checkpoint {path} is damaged, or no training of this project wrote it ({error}). Copy it "
            "again, or train the bundle."
        ) from error
    if digest != preprocessing_digest:
        raise CheckpointError(
            f"The checkpoint {path} was trained under another preprocessing ({digest[:12]}) than this "
            f"inference.yaml describes ({preprocessing_digest[:12]}). Use the inference.yaml of its own run."
        )
    if tuple(classes) != tuple(class_names):
        raise CheckpointError(
            f"The checkpoint {path} was trained on the classes {', '.join(classes)}, but the bundle's "
            f"inference.yaml names {', '.join(class_names)}. Use the inference.yaml of its own run."
        )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"The checkpoint {path} does not fit the bundle's network. Use the inference.yaml of its own run "
            f"({error})."
        ) from error


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, so that the file is complete whenever the process dies."""
    with replace_atomically(path) as temporary:
        torch.save(content, temporary)


def check_exists(path: Path) -> None:
    """Raise `FileNotFoundError` if there is no checkpoint."""
    if not path.is_file():
        raise FileNotFoundError(
            f"There are no trained weights at {path}. Train the bundle (python -m monai.bundle run training "
            "...), or give the --output_dir of a finished run as the bundle."
        )
