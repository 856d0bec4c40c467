"""The end of a training: what the bundle decides by, fitted on validation scores of the best weights.

`train.yaml` calls these functions one after another. The test split is not read here. Only the first process
writes. In all functions, `bundle` is the run folder as a bundle, `scores` are the scores of the validation
split with the best weights, and `datalist` is the datalist of the run.
"""

import logging
import math
import shlex
from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covid_monai.bundle import Bundle
from covid_monai.datasets.datalist import Datalist
from covid_monai.evaluation.decisions.calibration import Calibration, fit_calibration
from covid_monai.evaluation.decisions.operating_point import choose_operating_point
from covid_monai.evaluation.decisions.score_reference import fit_score_reference
from covid_monai.gate.fitting import fit_gate
from covid_monai.training.scores import ClassificationScores

logger = logging.getLogger("covid_monai.training")


def load_best_weights(network: nn.Module, bundle: Bundle) -> None:
    """Load the best weights of the run into `network`, which has no parallel wrapper."""
    idist.barrier()  # the first process may still be writing the weights
    bundle.load_weights(network)


@idist.one_rank_only()
def calibrate(bundle: Bundle, scores: ClassificationScores, datalist: Datalist) -> None:
    """Fit temperature and conformal thresholds, and write `models/calibration.json`."""
    fit_calibration(
        scores.labels,
        scores.probabilities,
        class_names=scores.class_names,
        **_patients_and_sources(datalist.splits["validation"], scores.labels),
        chosen_on=_origin(datalist),
    ).save(bundle.calibration_path)


@idist.one_rank_only()
def choose_thresholds(bundle: Bundle, scores: ClassificationScores, datalist: Datalist) -> None:
    """Choose the operating point on calibrated probabilities, and write `models/operating_point.json`."""
    calibrated = Calibration.load(bundle.calibration_path).apply(scores.probabilities)
    choose_operating_point(
        scores.labels,
        calibrated,
        scores.class_names,
        **_patients_and_sources(datalist.splits["validation"], scores.labels),
        chosen_on=_origin(datalist) | {"domains": _domains(datalist)},
    ).save(bundle.operating_point_path)


@idist.one_rank_only()
def write_score_reference(bundle: Bundle, scores: ClassificationScores, datalist: Datalist) -> None:
    """Write the distribution of calibrated probabilities, which drift is measured against."""
    calibrated = Calibration.load(bundle.calibration_path).apply(scores.probabilities)
    fit_score_reference(calibrated, scores.class_names, chosen_on=_origin(datalist)).save(
        bundle.score_reference_path
    )


@idist.one_rank_only()
def fit_input_gate(bundle: Bundle, train_records: Sequence[dict], val_records: Sequence[dict]) -> None:
    """Fit the input gate on training images with its limit from validation, and write `models/gate.npz`."""
    logger.info("Fitting the input gate on training images.")
    fit_gate(bundle, train_records, val_records).save(bundle.gate_path)


@idist.one_rank_only()
def log_next_command(bundle: Bundle, datalist: Datalist, *, auroc: float) -> None:
    """Log the best epoch, whether it is better than guessing, and the command that evaluates the run."""
    best = torch.load(bundle.checkpoint_path, map_location="cpu", weights_only=True)
    guessing = math.log(len(bundle.class_names))
    logger.info("Finished. The best epoch is %d, with a validation AUROC of %.3f.", best["epoch"], auroc)
    if best["metric"] >= guessing:
        logger.warning(
            "The lowest validation loss is %.3g, and that of guessing is %.3g: the network has learned "
            "nothing of use. Train for more epochs, or with another --learning_rate.",
            *(best["metric"], guessing),
        )
    logger.info("The run folder is a bundle. The next command evaluates it on the test split:")
    logger.info(
        "  covid-monai evaluate --bundle %s --datalist %s --output %s",
        *map(shlex.quote, map(str, (bundle.root, datalist.path, bundle.root / "evaluation"))),
    )


def _origin(datalist: Datalist) -> dict[str, Any]:
    patients = {record["patient"] for record in datalist.splits["validation"]}
    return {"split": "validation", "datalist_digest": datalist.digest, "patients": len(patients)}


def _domains(datalist: Datalist) -> list[str]:
    """Return what tells later whether a test is of other hospitals: hashes, because a bundle is shared."""
    return datalist.domains("training", "validation", salt=datalist.digest)


def _patients_and_sources(records: Sequence[dict], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Return both for each image, in the order of the scores, which has one process after another."""
    processes = idist.get_world_size()
    ordered = [record for rank in range(processes) for record in records[rank::processes]]
    if [record["label"] for record in ordered] != labels.tolist():
        raise ValueError(
            "The scored images are not the validation split of the datalist in its order. Leave the order of "
            "`validate::dataset` in train.yaml as it was."
        )
    return {
        "patients": [record["patient"] for record in ordered],
        "sources": [record.get("source") or "" for record in ordered],
    }
