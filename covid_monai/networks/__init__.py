"""Networks by name, their pretrained weights, and parameter groups for the optimizer."""

from covid_monai.networks.build import (
    NETWORK_NAMES,
    backbone_parameters,
    build_network,
    classifier_head,
    parameter_groups,
)
from covid_monai.networks.pretrained import IMAGENET_FILES, load_pretrained

__all__ = [
    "IMAGENET_FILES",
    "NETWORK_NAMES",
    "backbone_parameters",
    "build_network",
    "classifier_head",
    "load_pretrained",
    "parameter_groups",
]
