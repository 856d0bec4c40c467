"""The fit of the sources: its promise by simulation, its decisions against scikit-learn, names as data."""

from dataclasses import replace

import numpy as np
import pytest
from gate_helpers import SHIPPED
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import CheckpointError
from covid_monai.gate.gate import Gate
from covid_monai.gate.source_fitting import MIN_PATIENTS, fit_sources

SOURCES = ("ieee8023", "kermany")


def draw(rng, *, patients, images=(1, 9), shift=1.0):
    """Descriptors of sources with different means; images of a patient are alike, and tails are heavy."""
    rows, sources, of_patient = [], [], []
    for number, source in enumerate(SOURCES):
        for patient in range(patients):
            count = rng.integers(*images)
            # Patients with many images are unlike the others: a limit by images would follow them.
            center = rng.standard_t(5, 6) * (1 if count > 6 else 2) + shift * number
            rows += list(center + 0.3 * rng.standard_normal((count, 6)))
            sources += [source] * count
            of_patient += [f"{source}:{patient}"] * count
    return np.array(rows), sources, of_patient


@pytest.mark.slow
def test_an_image_of_a_new_patient_resembles_its_own_source_in_95_of_100():
    rng = np.random.default_rng(0)
    accepted = []
    for _ in range(40):
        fitted = fit_sources(*draw(rng, patients=40))
        rows, sources, patients = draw(rng, patients=200)
        first = np.unique(patients, return_index=True)[1]  # one image of each patient
        columns = np.array([fitted.names.index(sources[index]) for index in first])
        accepted.append(fitted.resembles(rows[first])[np.arange(len(first)), columns].mean())
    # 0.95 is promised on average over fits, and at most 1 / 41 more: the limit is one of 40 patients.
    error = np.std(accepted) / np.sqrt(len(accepted))
    assert 0.95 - 3 * error <= np.mean(accepted) <= 0.95 + 1 / 41 + 3 * error


def test_the_nearest_source_is_the_decision_of_linear_discriminant_analysis():
    rng = np.random.default_rng(1)
    rows, sources, patients = draw(rng, patients=300, images=(1, 2))
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5]).fit(rows, sources)
    new, _, _ = draw(rng, patients=300, images=(1, 2))
    fitted = fit_sources(rows, sources, patients)
    nearest = np.array(fitted.names)[fitted.distances(new).argmin(axis=1)]
    assert np.mean(nearest == judge.predict(new)) >= 0.99


def test_sources_that_are_alike_resemble_each_other_when_left_out_and_others_do_not():
    rng = np.random.default_rng(2)
    alike = fit_sources(*draw(rng, patients=60, shift=0.0)).resembled_when_left_out
    apart = fit_sources(*draw(rng, patients=60, shift=40.0)).resembled_when_left_out
    assert min(alike) > 0.85
    assert max(apart) < 0.05


def test_free_text_as_a_source_gets_a_number_and_few_patients_get_nothing():
    rng = np.random.default_rng(3)
    rows, sources, patients = draw(rng, patients=MIN_PATIENTS)
    free = ["Ward of Dr. Doe" if source == "kermany" else source for source in sources]
    assert fit_sources(rows, free, patients).names == ("ieee8023", "source 1")
    few = [None if patient == "kermany:3" else patient for patient in patients]
    kept = [index for index, patient in enumerate(few) if patient]
    fitted = fit_sources(rows[kept], [sources[i] for i in kept], [patients[i] for i in kept])
    assert fitted.names == ("ieee8023",)
    assert fitted.resembled_when_left_out is None
    assert fit_sources(rows, [""] * len(rows), patients) is None


def test_one_patient_with_most_images_does_not_set_the_limit():
    rng = np.random.default_rng(4)
    rows, sources, patients = draw(rng, patients=50, images=(1, 2))
    far = rng.standard_normal((400, 6)) + 12
    crowd = np.r_[rows, far], [*sources, *["kermany"] * 400], [*patients, *["kermany:crowd"] * 400]
    plain, crowded = fit_sources(rows, sources, patients), fit_sources(*crowd)
    column = plain.names.index("kermany")
    assert crowded.limits[column] < 2 * plain.limits[column]


@pytest.mark.parametrize("known", [True, False])
def test_the_gate_of_a_bundle_keeps_the_sources(bundle, gate, tmp_path, known):
    sources = fit_sources(*_wide(len(gate.center))) if known else None
    other = bundle.copy_to(tmp_path / "other")
    other.checkpoint_path.parent.mkdir(exist_ok=True)
    other.checkpoint_path.write_bytes(bundle.checkpoint_path.read_bytes())
    replace(gate, sources=sources).save(other.gate_path)
    again = Gate.load(other)
    np.testing.assert_array_equal(again.precision, gate.precision)
    if sources is None:
        assert again.sources is None
        return
    assert again.sources.names == sources.names
    assert again.sources.resembled_when_left_out == sources.resembled_when_left_out
    for name in ("means", "scale", "precision", "limits"):
        np.testing.assert_array_equal(getattr(again.sources, name), getattr(sources, name))
    replace(gate, sources=replace(sources, names=("a", "b" * 65))).save(other.gate_path)
    with pytest.raises(CheckpointError, match="names and statistics of its sources"):
        Gate.load(other)


def test_the_shipped_gate_knows_its_collections_and_how_weak_their_note_is():
    sources = Gate.load(Bundle(SHIPPED)).sources
    assert sources.names == ("covid-cxnet", "darkcovidnet", "ieee8023", "kermany")
    low, high = sources.resembled_when_left_out
    experiments = (SHIPPED.parents[1] / "docs" / "experiments.md").read_text()
    assert f"{low:.3f} to {high:.3f} of the training and validation images of a collection" in experiments


def _wide(size):
    rng = np.random.default_rng(5)
    count = 2 * MIN_PATIENTS
    sources = [SOURCES[number % 2] for number in range(count)]
    return rng.standard_normal((count, size)), sources, [f"p{number}" for number in range(count)]
