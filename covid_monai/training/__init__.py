"""What `train.yaml` composes beyond MONAI's own parts."""

from covid_monai.training.augmentation import BatchAugment
from covid_monai.training.averaging import AverageWeights
from covid_monai.training.data import RadiographDataset, check_records, normalization
from covid_monai.training.finish import finish_training
from covid_monai.training.flags import as_flag
from covid_monai.training.handlers import ClipGradients, EarlyStop, FreezeBackbone, SeedEpoch, Throughput, use
from covid_monai.training.learning_rate import find_learning_rate
from covid_monai.training.markers import RandomMarkers
from covid_monai.training.processes import (
    SharedLoss,
    join_processes,
    leave_processes,
    share_norms,
    summed_weight,
)
from covid_monai.training.progress import ProgressReport
from covid_monai.training.run_folder import RunFolder
from covid_monai.training.sampling import EpochSampler, check_balance, class_weights, source_weights
from covid_monai.training.scores import ClassificationScores
from covid_monai.training.shortcuts import RandomCollimation, RandomGamma
from covid_monai.training.steps import AutocastInferer, PrepareClassificationBatch
from covid_monai.training.tracking import RunTracker

__all__ = [
    "AutocastInferer",
    "AverageWeights",
    "BatchAugment",
    "ClassificationScores",
    "ClipGradients",
    "EarlyStop",
    "EpochSampler",
    "FreezeBackbone",
    "PrepareClassificationBatch",
    "ProgressReport",
    "RadiographDataset",
    "RandomCollimation",
    "RandomGamma",
    "RandomMarkers",
    "RunFolder",
    "RunTracker",
    "SeedEpoch",
    "SharedLoss",
    "Throughput",
    "as_flag",
    "check_balance",
    "check_records",
    "class_weights",
    "find_learning_rate",
    "finish_training",
    "join_processes",
    "leave_processes",
    "normalization",
    "share_norms",
    "source_weights",
    "summed_weight",
    "use",
]
