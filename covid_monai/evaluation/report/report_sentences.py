"""The first section of a report in plain sentences: the result, and what limits it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from covid_monai.core.number_format import format_count, format_interval, format_metric
from covid_monai.evaluation.decisions.operating_point import ARGMAX_RULE, OperatingPoint
from covid_monai.evaluation.metrics.prediction_table import PredictionTable

# With fewer patients in a class, one patient changes its sensitivity by more than three points.
FEW_PATIENTS = 30
# A probability of 0.90 that is right in 85 of 100 images misleads; a smaller difference hardly does.
MISCALIBRATED = 0.05


def result_sentence(test: PredictionTable, metrics: Mapping[str, Any]) -> str:
    """Return the result in one sentence: images, patients, AUROC and balanced accuracy with intervals."""
    auroc, balanced = metrics["auroc"], metrics["balanced_accuracy"]
    images, patients = len(test), len(np.unique(test.patients))
    sentence = (
        f"On {format_count(images, 'image')} of {format_count(patients, 'patient')} of the test split: "
        f"AUROC {with_interval(auroc)}, balanced accuracy {with_interval(balanced)}."
    )
    if auroc["low"] is not None and auroc["low"] <= 0.5:
        sentence += " The interval of the AUROC includes 0.5, so the result may be no better than guessing."
    return sentence


def limit_sentences(
    test: PredictionTable,
    validation: PredictionTable,
    metrics: Mapping[str, Any],
    operating_point: OperatingPoint,
    *,
    datalist_digest: str | None,
) -> list[str]:
    """Return what a reader must know before believing the result, the most serious limit first."""
    return [
        *_source_sentences(test),
        *_patient_sentences(test, validation),
        *_threshold_sentences(operating_point, datalist_digest),
        *_size_sentences(test, metrics),
        *_probability_sentences(metrics),
        "Predictive values (PPV, NPV) hold only where the classes are as frequent as in this test split.",
    ]


def with_interval(metric: Mapping[str, float | None]) -> str:
    """Write a metric with its interval, as `0.953 (95 % interval 0.921 to 0.978)`."""
    interval = format_interval(metric)
    prefix = "" if metric["low"] is None else "95 % interval "
    return f"{format_metric(metric['value'])} ({prefix}{interval})"


def _source_sentences(test: PredictionTable) -> list[str]:
    sources = set(test.sources.tolist())
    if "" in sources:
        return [
            f"The source of {np.sum(test.sources == '')} of {len(test)} test images is not recorded, so "
            "nobody can check whether label and source go together."
        ]
    if len(sources) == 1:
        return [
            f"All test images come from one source ({sources.pop()}). The result says nothing about other "
            "hospitals, scanners or age groups."
        ]
    sentences = [_confounding_sentence(test, k) for k in range(len(test.class_names))]
    return [sentence for sentence in sentences if sentence]


def _confounding_sentence(test: PredictionTable, k: int) -> str:
    """Return a sentence if class k has one source only, or only sources without any other class."""
    of_class = test.labels == k
    own, others = sorted(set(test.sources[of_class].tolist())), set(test.sources[~of_class].tolist())
    shared = bool(others.intersection(own))
    if not own or (len(own) > 1 and shared):
        return ""
    where = f"one source ({own[0]})" if len(own) == 1 else f"these sources ({', '.join(own)})"
    alone = "" if shared else ", and no other class does"
    patients = format_count(len(np.unique(test.patients[of_class])), "patient")
    return (
        f"Label and source go together: all {of_class.sum()} {test.class_names[k]} images "
        f"({patients}) come from {where}{alone}. The classifier may have learned the source (its machines, "
        "borders, age group) instead of the disease. The metrics below cannot distinguish the two."
    )


def _patient_sentences(test: PredictionTable, validation: PredictionTable) -> list[str]:
    shared = len(np.intersect1d(test.patients, validation.patients))
    if not shared:
        return []
    verb = "is" if shared == 1 else "are"
    return [
        f"{format_count(shared, 'patient')} {verb} in both validation and test. The thresholds were chosen "
        "with these patients, so the metrics below are too good. Split by patient and test again."
    ]


def _threshold_sentences(operating_point: OperatingPoint, datalist_digest: str | None) -> list[str]:
    if operating_point.rule == ARGMAX_RULE:
        return [
            "There was no validation split, so no threshold was chosen: the decision is the most probable "
            "class. Sensitivity and specificity may be far from the best that this model can reach."
        ]
    sentences, chosen_on = list(operating_point.notes), operating_point.chosen_on
    if chosen_on.get("split") != "validation":
        sentences.append(
            f"The thresholds were chosen on {chosen_on.get('split', 'unrecorded data')}, not on the "
            "validation split, so sensitivity and specificity may be too good."
        )
    if datalist_digest and chosen_on.get("datalist_digest") not in (None, datalist_digest):
        sentences.append(
            "The thresholds were chosen on another datalist. The test is fair only if none of the patients "
            "of that datalist is in this test split."
        )
    return sentences


def _size_sentences(test: PredictionTable, metrics: Mapping[str, Any]) -> list[str]:
    counts = {
        name: len(np.unique(test.patients[test.labels == k])) for k, name in enumerate(test.class_names)
    }
    few = ", ".join(f"{name} {n}" for name, n in counts.items() if 0 < n < FEW_PATIENTS)
    sentences = []
    if few:
        sentences.append(
            f"Few patients ({few}): in a class with fewer than {FEW_PATIENTS} patients, one patient changes "
            "the metrics visibly."
        )
    if absent := metrics["classes_without_cases"]:
        sentences.append(
            f"The test split has no case of {', '.join(absent)}. Its sensitivity is unknown, and macro "
            "values are means over the other classes."
        )
    if skipped := metrics["bootstrap"]["skipped"]:
        sentences.append(
            f"{skipped} of {metrics['bootstrap']['resamples']} resamples had no case of some class and were "
            "left out of the intervals. The intervals are therefore probably too narrow."
        )
    return sentences


def _probability_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Return a sentence if the probabilities are far from the frequencies."""
    ece = metrics["ece"]
    if ece["low"] is None or ece["low"] < MISCALIBRATED:
        return []
    return [
        f"The probabilities are not calibrated: on average they differ by {with_interval(ece)} from the "
        "observed frequencies (expected calibration error). A probability of 0.9 does not mean nine in ten."
    ]
