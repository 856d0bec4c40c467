"""Networks by name, their pretrained weights, and parameter groups for the optimizer."""

from covid_monai.networks.build import build_network, parameter_groups
from covid_monai.networks.pretrained import load_pretrained

__all__ = ["build_network", "load_pretrained", "parameter_groups"]
