"""`predictions.csv` of an evaluation: calibrated, and with the digits of `predict`."""

import csv

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.handlers import ClassificationSaver
from scipy.special import softmax

from covid_monai.core.vocabulary import DecoderNotStarted, RefusalReason, RefusedImage, UnreadableImage
from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.metrics.prediction_table import read_predictions
from covid_monai.inference.scoring import PredictionTableWriter, ProbabilityTable, usable_records

NAMES = ("no", "yes")


@pytest.mark.parametrize("temperature", [None, 1.0, 2.5])
def test_probabilities_are_those_of_the_divided_logits(tmp_path, temperature):
    logits = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)) * 4
    records = [
        {"image": f"{n}.png", "split": "test", "patient": str(n), "label": n % 2} for n in range(len(logits))
    ]
    calibration = temperature and Calibration(NAMES, temperature, dict.fromkeys(NAMES, 0.5), 0.9)
    table = PredictionTableWriter(
        tmp_path / "predictions.csv", records=records, class_names=NAMES, calibration=calibration
    )
    evaluator = Engine(lambda _, batch: {"pred": batch})
    table.attach(evaluator)
    evaluator.run(logits.split(3))
    written = read_predictions(tmp_path / "predictions.csv").probabilities
    expected = softmax(logits.double().numpy() / (temperature or 1.0), axis=1)
    np.testing.assert_allclose(written, expected, atol=1e-6)


def reads(**errors):
    """A preprocessing that fails for some images, as MONAI lets it fail."""

    def read(item):
        if item["image"] in errors:
            raise RuntimeError("applying transform") from errors[item["image"]]
        return item

    return read


def test_names_in_the_table_of_monai_are_cells_and_no_formulas(tmp_path):
    table = ProbabilityTable(str(tmp_path / "new" / "predictions.csv"))
    saver = ClassificationSaver(
        saver=table, batch_transform=lambda batch: batch, output_transform=lambda output: output
    )
    engine = Engine(lambda _, batch: torch.tensor([[0.25, 0.75]] * len(batch)))
    saver.attach(engine)
    engine.run([[{"filename_or_obj": "=1,2.png"}, {"filename_or_obj": "b.png"}]], max_epochs=1)
    rows = list(csv.reader((tmp_path / "new" / "predictions.csv").open(newline="")))
    assert rows == [["'=1,2.png", "0.25", "0.75"], ["b.png", "0.25", "0.75"]]


def test_images_that_cannot_be_read_stop_no_other(caplog):
    records = [
        {"image": name, "split": split}
        for name, split in zip("abcd", ("test", "test", "validation", "test"), strict=True)
    ]
    failing = reads(b=UnreadableImage("b is cut"), c=RefusedImage(RefusalReason.NOT_CHEST, "c is a hand"))
    assert [record["image"] for record in usable_records(records, failing)] == ["a", "d"]
    assert caplog.messages == ["b is not counted: b is cut", "c is not counted: c is a hand"]
    assert usable_records(records, reads()) == records


def test_what_is_no_images_fault_and_a_test_without_an_image_are_errors():
    records = [{"image": "a", "split": "test"}, {"image": "b", "split": "validation"}]
    with pytest.raises(ValueError, match=r"No image of the test split can be read.*a is cut"):
        usable_records(records, reads(a=UnreadableImage("a is cut")))
    for error in (DecoderNotStarted("no memory"), KeyError("a fault of ours")):
        with pytest.raises(RuntimeError):
            usable_records(records, reads(b=error))
