"""The result and its limits in sentences, for data whose limits are known."""

from dataclasses import replace

import numpy as np
from evaluation_helpers import rows
from sklearn.metrics import roc_auc_score

from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.evaluation.report.report_metrics import compute_report_metrics
from covid_monai.evaluation.report.report_sentences import FEW_PATIENTS, report_sentences


def sentences_of(test, validation, **provenance):
    point = OperatingPoint.argmax(test.class_names)
    metrics = compute_report_metrics(test, validation, operating_point=point, resamples=20)
    return report_sentences(test, validation, metrics, point, provenance=provenance)


def test_result_names_images_patients_and_both_metrics():
    test = rows(60)
    result, limits = sentences_of(test, test.where(np.zeros(60, dtype=bool)))
    patients = len(np.unique(test.patients))
    assert result.startswith(f"On 60 images of {patients} patients of the test split: AUROC 0.")
    assert "balanced accuracy 0." in result
    assert limits[-1].startswith("Predictive values (PPV, NPV) hold only")
    assert all(sentence == sentence.strip() and sentence.endswith(".") for sentence in (result, *limits))


def test_images_that_could_not_be_read_are_the_first_limit():
    for number, words in (
        (1, "1 image of the datalist could not be read and is not counted. Correct or replace it"),
        (3, "3 images of the datalist could not be read and are not counted. Correct or replace them"),
    ):
        _, limits = sentences_of(rows(60), rows(60), images_not_counted=number)
        assert limits[0].startswith(words)
    _, limits = sentences_of(rows(60), rows(60), images_not_counted=0)
    assert "could not be read" not in " ".join(limits)


def test_limits_name_source_shared_patients_and_small_classes():
    test = rows(60)
    test = replace(test, sources=np.full(60, "one & only"))
    _, limits = sentences_of(test, test)
    text = " ".join(limits)
    assert "All test images come from one source (one & only)." in text
    assert "in both validation and test" in text
    assert f"in a class with fewer than {FEW_PATIENTS} patients" in text
    assert "no threshold was chosen" in text


def test_limits_name_what_differs_between_sources_and_effective_numbers():
    # In one source nearly every image is a case, in the other hardly any, and the probabilities are the same.
    test = rows(800, names=("no", "yes"), sharpness=1)
    generator = np.random.default_rng(0)
    labels = (generator.random(400) < np.where(np.arange(400) % 2, 0.8, 0.2)).repeat(2).astype(int)
    test = replace(test, labels=labels, patients=np.where(np.arange(800) < 500, "block", test.patients))
    _, limits = sentences_of(test, test)
    text = " ".join(limits)
    assert "No source has enough patients of two classes for an AUROC within it." in text
    assert "effectively 2." in text
    assert "The PPV of" not in text  # one patient has most of the images of each source

    test = replace(test, patients=rows(800).patients)
    _, limits = sentences_of(test, test.where(np.zeros(800, dtype=bool)))
    text = " ".join(limits)
    assert "The probabilities do not fit every source. On average they are too low for no in one;" in text
    assert "too high for yes in one; " in text
    assert "too low for yes in two. At a hospital" in text
    assert "The PPV of yes is 0." in text
    areas = [
        roc_auc_score(part.labels, part.probabilities[:, 1]) for part in map(test.of_source, ("one", "two"))
    ]
    assert f"Within a source it is {areas[0]:.3f} (95 % interval" in text
    assert f"(one), {areas[1]:.3f} (95 % interval" in text
