"""What a bundle decides by is fitted on the validation split, with the best weights."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evaluation_helpers import NAMES
from evaluation_helpers import rows as evaluation_rows

from covid_monai.bundle import Bundle
from covid_monai.datasets.datalist import Datalist, read_datalist
from covid_monai.evaluation.decisions.calibration import Calibration, fit_calibration
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, choose_operating_point
from covid_monai.gate.gate import Gate
from covid_monai.training.decisions import calibrate, choose_thresholds, log_next_command


def test_the_operating_point_was_chosen_on_validation(run):
    point = OperatingPoint.load(run / "models" / "operating_point.json")
    data = read_datalist(run.parent / "datalist.json")
    assert point.chosen_on["split"] == "validation"
    assert point.chosen_on["n"] == len(data.splits["validation"])
    assert point.chosen_on["datalist_digest"] == data.digest
    assert data.is_external_to(point.chosen_on) is False


def test_the_calibration_was_fitted_on_validation_patients(run):
    calibration = Calibration.load(run / "models" / "calibration.json")
    data = read_datalist(run.parent / "datalist.json")
    validation = data.splits["validation"]
    assert calibration.chosen_on["split"] == "validation"
    assert calibration.chosen_on["n"] == len(validation)
    assert calibration.chosen_on["patients"] == len({record["patient"] for record in validation})
    assert calibration.chosen_on["datalist_digest"] == data.digest


def test_drift_is_measured_against_the_images_of_the_calibration(run):
    bundle = Bundle(run)
    origin, calibrated_on = bundle.score_reference.chosen_on, bundle.calibration.chosen_on
    assert all(origin[key] == calibrated_on[key] for key in ("split", "n", "patients", "datalist_digest"))


def test_the_thresholds_are_those_of_calibrated_probabilities(run):
    bundle, data = Bundle(run), read_datalist(run.parent / "datalist.json")
    network, records = bundle.load_network(), data.records("validation")
    images = torch.stack([bundle.preprocessing({"image": r["image"]})["image"].as_tensor() for r in records])
    with torch.no_grad():
        own = torch.softmax(network(images).double(), dim=1).numpy()
    labels = [record["label"] for record in records]
    expected = choose_operating_point(labels, bundle.calibration.apply(own), bundle.class_names)
    assert bundle.operating_point.thresholds == pytest.approx(expected.thresholds, abs=1e-4)


def test_patients_and_sources_of_the_datalist_weigh_equally(tmp_path):
    """A collection whose images are listed ten times decides no more than before."""
    rows = evaluation_rows(800)
    large = np.flatnonzero(rows.sources == "one")
    many = rows.where(np.concatenate([np.tile(large, 10), np.flatnonzero(rows.sources == "two")]))
    columns = zip(many.labels.tolist(), many.patients.tolist(), many.sources.tolist(), strict=True)
    records = [{"label": label, "patient": who, "source": source} for label, who, source in columns]
    splits = {"training": (), "validation": tuple(records), "test": ()}
    data = Datalist(tmp_path, tmp_path, NAMES, splits, digest="d")
    bundle = SimpleNamespace(calibration_path=tmp_path / "c.json", operating_point_path=tmp_path / "o.json")
    calibrate(bundle, many, data)
    choose_thresholds(bundle, many, data)

    known = {"class_names": NAMES, "patients": rows.patients, "sources": rows.sources}
    calibration = fit_calibration(rows.labels, rows.probabilities, **known)
    point = choose_operating_point(rows.labels, calibration.apply(rows.probabilities), **known)
    found = Calibration.load(bundle.calibration_path)
    assert found.temperature == pytest.approx(calibration.temperature, rel=1e-5)
    assert found.conformal == pytest.approx(calibration.conformal, rel=1e-5)
    assert OperatingPoint.load(bundle.operating_point_path).thresholds == pytest.approx(point.thresholds)


def test_the_gate_belongs_to_the_weights(run):
    gate = Gate.load(Bundle(run))
    assert gate is not None
    training = read_datalist(run.parent / "datalist.json").splits["training"]
    assert gate.fitted_on["training_images"] == len(training)


@pytest.mark.parametrize(("loss", "warned"), [(1.05, False), (1.2, True), (4000.0, True)])
def test_a_run_that_is_no_better_than_guessing_says_so(tmp_path, caplog, monkeypatch, loss, warned):
    path, root = tmp_path / "model.pt", Path("a run")
    bundle = SimpleNamespace(checkpoint_path=path, class_names=("a", "b", "c"), root=root)
    torch.save({"epoch": 2, "metric": loss}, bundle.checkpoint_path)
    with caplog.at_level("INFO", logger="covid_monai.training"):
        monkeypatch.setattr(logging.getLogger("covid_monai"), "propagate", True)
        log_next_command(bundle, SimpleNamespace(path=Path("my list.json")), auroc=0.7)
    assert ("that of guessing is 1.1" in caplog.text) is warned
    words = "--bundle 'a run' --datalist 'my list.json' --output 'a run/evaluation'"
    assert f"covid-monai evaluate {words}" in caplog.text
