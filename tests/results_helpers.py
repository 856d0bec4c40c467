"""What the tests of covid_monai.results share: a small classifier, predictions, outside judges."""

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.core.vocabulary import NOT_TOLD, NOT_VALIDATED, VALIDATED, Status
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction
from covid_monai.results import write_results

MADE = datetime(2026, 11, 30, 15, 4, 5, tzinfo=UTC)
SHIPPED = Path(__file__).parents[1] / "bundles" / "covid_cxr_classification"
THRESHOLDS = {"normal": 0.47, "pneumonia": 0.39, "covid": 0.26}
NEEDS_DCIODVFY = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
NEEDS_DCMTK = pytest.mark.skipif(shutil.which("dsrdump") is None, reason="needs DCMTK")
NEEDS_POPPLER = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs poppler-utils")


def small_classifier(folder):
    """A classifier like that of a finished training, but with random weights."""
    torch.manual_seed(0)
    bundle = Bundle(SHIPPED, image_size=64, network_name="resnet10").copy_to(folder)
    save_checkpoint(bundle.checkpoint(bundle.build_network()), bundle.checkpoint_path)
    OperatingPoint("the rule", THRESHOLDS).save(bundle.operating_point_path)
    Calibration.load(SHIPPED / "models" / "calibration.json").save(bundle.calibration_path)
    return Classifier(folder, device="cpu")


def classified(classifier, file, *, decided="covid", probable="covid", possible=("covid",)):
    """An ok prediction; `decided` may be "uncertain"."""
    values = dict(zip(("normal", "pneumonia", "covid"), (0.01, 0.02, 0.03), strict=True))
    values[probable] = 1 - sum(value for name, value in values.items() if name != probable)
    reason = (
        "pneumonia and covid are both possible; none can be excluded." if decided == "uncertain" else None
    )
    return Prediction(
        file=str(file),
        status=Status.OK,
        model=classifier.model,
        predicted_class=probable,
        probabilities=values,
        prediction_set=list(possible),
        decision={
            "class": decided,
            "reason": reason,
            "at_operating_point": probable if decided == "uncertain" else decided,
            "rule": "the rule",
            "thresholds": THRESHOLDS,
        },
    )


def two_levels(prediction, *, call=True, cause=None, validated=False, interval=None):
    """The prediction with both levels; `cause` is a class, or None where it is not told."""
    words = VALIDATED if validated else NOT_VALIDATED
    reason = f"{cause}: {words}." if cause else "Abnormal, cause not told: the evidence is below the cut."
    abnormal = 1 - prediction.probabilities["normal"]
    return replace(
        prediction,
        abnormal={"probability": abnormal, "threshold": 0.6, "call": call, "interval": interval},
        cause={"name": cause or NOT_TOLD, "reason": reason, "log_odds": 4.5, "cut": 2.25},
    )


def refused(classifier, file, reason="not_a_chest"):
    return Prediction(
        file=str(file),
        status=Status.REFUSED,
        model=classifier.model,
        reason=reason,
        detail=f"{Path(file).name}: BodyPartExamined names HAND; a chest was expected.",
    )


def complaints(objects, folder, *, level="Error"):
    """Lines of dciodvfy that begin with `level`, with the kind of object before them."""
    found = []
    for path in write_results(objects, folder):
        done = subprocess.run(["dciodvfy", path], capture_output=True, timeout=60, check=False)
        lines = (done.stderr + done.stdout).decode("utf-8", "replace").splitlines()
        found += [f"{path.name}: {line}" for line in lines if line.startswith(level)]
    return found


def clock(*, hours):
    """A class like `datetime` whose clock is fast by some hours."""

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(hours=hours)

    return Later


def fixed_clock(time):
    """A class like `datetime` whose clock stands still."""

    class Standing(datetime):
        @classmethod
        def now(cls, tz=None):
            return time.astimezone(tz)

    return Standing


def run(*command, **options):
    """Standard output of a command that must succeed without a warning."""
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=120, check=True, **options)
    assert not done.stderr.strip(), done.stderr
    return done.stdout


def text_of(document, folder):
    """The page's words with single spaces; asserts that it is one page whose letters are all there."""
    (folder / "page.pdf").write_bytes(document)
    assert "Pages:           1" in run("pdfinfo", folder / "page.pdf").decode()
    return " ".join(run("pdftotext", "-layout", folder / "page.pdf", "-").decode().split())
