"""Dice by patient against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from sklearn.metrics import f1_score

from covid_monai.lungs.evaluation import DiceReport, summarise_dice


def test_the_dice_of_each_image_is_the_f1_score_of_its_pixels(tmp_path):
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(5, 2, 16, 16)).astype(np.float32), rng.random((5, 1, 16, 16)) < 0.4
    records = [{"image": f"{i}.png", "patient": "ab"[i % 2]} for i in range(5)]
    batches = [(0, 3), (3, 5)]

    def step(_engine, batch):
        first, last = batch
        return {"pred": torch.tensor(logits[first:last]), "label": torch.tensor(truth[first:last]).float()}

    engine = Engine(step)
    DiceReport(tmp_path, records, provenance={"model": {"name": "x"}}).attach(engine)
    engine.run(batches)
    rows = (tmp_path / "dice.csv").read_text().splitlines()[1:]
    predicted = logits.argmax(axis=1)
    for index, row in enumerate(rows):
        expected = f1_score(truth[index].ravel(), predicted[index].ravel())
        assert float(row.split(",")[2]) == pytest.approx(expected, abs=1e-4)


def test_a_patient_with_many_images_counts_once():
    found = summarise_dice([0.8, 0.9, 1.0, 1.0, 1.0], ["a", "b", "c", "c", "c"])
    assert found["dice_by_patient"]["value"] == pytest.approx(0.9)
    assert (found["images"], found["patients"]) == (5, 3)
    assert found["percentiles"]["0"] == 0.8
