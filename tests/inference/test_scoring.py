"""`predictions.csv` of an evaluation: calibrated, and with the digits of `predict`."""

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from scipy.special import softmax

from covid_monai.evaluation.decisions.calibration import Calibration
from covid_monai.evaluation.metrics.prediction_table import read_predictions
from covid_monai.inference.scoring import PredictionTableWriter

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
