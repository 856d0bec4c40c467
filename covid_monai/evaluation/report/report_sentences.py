"""What a test result says and what it does not, in plain sentences: the first thing in the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covid_monai.evaluation.decisions.operating_point import ARGMAX_RULE, OperatingPoint
from covid_monai.evaluation.metrics.prediction_table import PredictionTable

# Below this many patients in a class, one patient moves its sensitivity by more than three points.
FEW_PATIENTS = 30
# A probability of 0.90 that comes true in 85 of 100 images misleads; below that it hardly does.
MISCALIBRATED = 0.05


def result_sentence(test: PredictionTable, metrics: Mapping[str, Any]) -> str:
    """The headline in one sentence: metric, interval, images, patients, split."""
    auroc, balanced = metrics["auroc"], metrics["balanced_accuracy"]
    sentence = (
        f"On {_count(test)} of the test split: AUROC {in_words(auroc)}, "
        f"balanced accuracy {in_words(balanced)}."
    )
    if auroc["low"] is not None and auroc["low"] <= 0.5:
        sentence += " The interval of the AUROC reaches 0.5: this is not told apart from guessing."
    return sentence


def limit_sentences(
    test: PredictionTable,
    validation: PredictionTable,
    metrics: Mapping[str, Any],
    operating_point: OperatingPoint,
    *,
    datalist_digest: str | None,
) -> list[str]:
    """What a reader must know before believing the headline, gravest first."""
    return [
        *_source_sentences(test),
        *_patient_sentences(test, validation),
        *_threshold_sentences(operating_point, datalist_digest),
        *_size_sentences(test, metrics),
        *_probability_sentences(metrics),
        "Predictive values (PPV, NPV) hold only where the classes are as frequent as in this test split.",
    ]


def in_words(metric: Mapping[str, float | None]) -> str:
    """A metric with its interval, as `0.953 (95 % interval 0.921 to 0.978)`."""
    if metric["low"] is None:
        return f"{number(metric['value'])} (no interval)"
    return f"{number(metric['value'])} (95 % interval {number(metric['low'])} to {number(metric['high'])})"


def number(value: float | None) -> str:
    """Three decimals; what is not exactly 0 or 1 is not rounded to it.

    >>> number(0.9996), number(1.0), number(0.5), number(None)
    ('> 0.999', '1.000', '0.500', 'not defined')
    """
    if value is None:
        return "not defined"
    if 0.9995 <= value < 1:
        return "> 0.999"
    return "< 0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def _count(predictions: PredictionTable) -> str:
    images, patients = len(predictions), len(np.unique(predictions.patients))
    return f"{images} image{'s' * (images != 1)} of {patients} patient{'s' * (patients != 1)}"


def _source_sentences(test: PredictionTable) -> list[str]:
    sources = set(test.sources.tolist())
    if "" in sources:
        return [
            f"The source of {np.sum(test.sources == '')} of {len(test)} test images is not recorded: whether "
            "label and source go together cannot be seen."
        ]
    if len(sources) == 1:
        return [
            f"All test images come from one source ({sources.pop()}): nothing here speaks for other "
            "hospitals, scanners or age groups."
        ]
    sentences = [_confounding(test, k) for k in range(len(test.class_names))]
    return [sentence for sentence in sentences if sentence]


def _confounding(test: PredictionTable, k: int) -> str:
    """A sentence if class k sits in one source, or only in sources that hold nothing else."""
    of_class = test.labels == k
    own, others = sorted(set(test.sources[of_class].tolist())), set(test.sources[~of_class].tolist())
    shared = bool(others.intersection(own))
    if not own or (len(own) > 1 and shared):
        return ""
    where = f"one source ({own[0]})" if len(own) == 1 else f"sources of their own ({', '.join(own)})"
    alone = "" if shared else " and no other class does"
    n_patients = len(np.unique(test.patients[of_class]))
    return (
        f"Label and source go together: all {of_class.sum()} {test.class_names[k]} images "
        f"({n_patients} patients) come from {where}{alone}. The classifier may have learned the source "
        "(its machines, borders, age group) instead of the disease; the figures below cannot tell the two "
        "apart."
    )


def _patient_sentences(test: PredictionTable, validation: PredictionTable) -> list[str]:
    shared = len(np.intersect1d(test.patients, validation.patients))
    if not shared:
        return []
    return [
        f"{shared} patients are in both validation and test: the thresholds have seen them, and the figures "
        "below are too good. Split by patient and test again."
    ]


def _threshold_sentences(operating_point: OperatingPoint, datalist_digest: str | None) -> list[str]:
    if operating_point.rule == ARGMAX_RULE:
        return [
            "There was no validation split, so no threshold was chosen: the decision is simply the most "
            "probable class. Sensitivity and specificity may be far from the best that this model can do."
        ]
    sentences, chosen_on = list(operating_point.notes), operating_point.chosen_on
    if chosen_on.get("split") != "validation":
        sentences.append(
            f"The thresholds were chosen on {chosen_on.get('split', 'data that nobody recorded')}, not on "
            "the validation split: sensitivity and specificity may be too good."
        )
    if datalist_digest and chosen_on.get("datalist_digest") not in (None, datalist_digest):
        sentences.append(
            "The thresholds were chosen on another datalist than this one. They are a fair test only if none "
            "of its patients is in this test split."
        )
    return sentences


def _size_sentences(test: PredictionTable, metrics: Mapping[str, Any]) -> list[str]:
    sentences = _few_patients(test)
    if absent := metrics["classes_without_cases"]:
        sentences.append(
            f"No test case of {', '.join(absent)}: nothing is known about finding it, and macro values are "
            "means over the other classes."
        )
    skipped, drawn = metrics["bootstrap"]["skipped"], metrics["bootstrap"]["resamples"]
    if skipped:
        sentences.append(
            f"{skipped} of {drawn} resamples drew no case of some class and were left out of the intervals, "
            "which are therefore rather too narrow than too wide."
        )
    return sentences


def _probability_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence if the probabilities are far from the frequencies: do not read 0.9 as nine in ten."""
    ece = metrics["ece"]
    if ece["low"] is None or ece["low"] < MISCALIBRATED:
        return []
    return [
        f"The probabilities do not mean what they say: they are off by {in_words(ece)} on average (expected "
        "calibration error)."
    ]


def _few_patients(test: PredictionTable) -> list[str]:
    counts = {
        name: len(np.unique(test.patients[test.labels == k])) for k, name in enumerate(test.class_names)
    }
    few: Sequence[str] = [f"{name} {n}" for name, n in counts.items() if 0 < n < FEW_PATIENTS]
    if not few:
        return []
    return [
        f"Few patients ({', '.join(few)}): with fewer than {FEW_PATIENTS} in a class, one patient changes "
        "the figures visibly."
    ]
