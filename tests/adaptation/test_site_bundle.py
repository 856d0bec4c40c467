"""The adapted bundle on disk: whole, verified, and without the names of patients or folders."""

from dataclasses import replace

import numpy as np
import pytest

from covid_monai.adaptation.adapt import adapt_bundle
from covid_monai.adaptation.site_bundle import start_of, write_site_bundle
from covid_monai.adaptation.site_images import head_of
from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle_zip import ArchiveError
from covid_monai.export import verify_bundle
from covid_monai.inference.classifier import Classifier


@pytest.fixture(scope="module")
def adapted(source, hospital, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted") / "site #1"
    report = adapt_bundle(source.root, folder, datalist=hospital, site="Clinic (A)", device="cpu")
    return folder, report


def test_it_is_verified_by_its_digests_and_has_a_version_of_its_own(adapted, source):
    folder, report = adapted
    record = verify_bundle(folder)
    assert record["weights_sha256"] == source.identity["weights_sha256"]
    assert record["version"].startswith(f"{source.metadata['version']}+site.")
    assert record["version"] in Bundle(folder).metadata["changelog"]
    assert report["made_of"]["version"] == source.metadata["version"]
    path = folder / "models" / "unseen_sources.json"
    path.write_text(path.read_text().replace("0.05", "0.5"))
    with pytest.raises(ArchiveError, match=r"unseen_sources\.json is damaged or was changed"):
        verify_bundle(folder)
    path.write_text(path.read_text().replace("0.5", "0.05"))


def test_its_answers_use_the_new_cut_and_name_the_hospital(adapted, hospital):
    classifier = Classifier(adapted[0], device="cpu", backend="torch")
    cuts = classifier.unseen_sources.cuts
    records = list(classifier.predict(sorted(hospital.parent.glob("2-*.png"))))
    assert {record.cause["cut"] for record in records} <= set(cuts.values())
    named = [record.cause for record in records if record.cause["name"] != "not told"]
    for cause in named:
        assert cause["log_odds"] >= cause["cut"]
        assert "images of this hospital (63 normal patients, Clinic (A), 20" in cause["reason"]
    assert classifier.unseen_sources.basis.startswith("63 normal patients, Clinic (A), 20")
    said = " ".join(record.cause["reason"] for record in records)
    assert "not validated at this hospital" not in said


def test_nothing_in_it_names_a_patient_or_a_folder_of_the_images(adapted, hospital):
    folder, _ = adapted
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert b"Planted" not in content, path
        assert hospital.parent.name.encode() not in content, path
    card = (folder / "docs" / "README.md").read_text()
    assert "## Adapted to a hospital\n\nAdapted to Clinic (A) on 20" in card
    assert card.count("\n## ") > 1
    assert card.index("\n## ") + 1 == card.index("## Adapted to a hospital")


def test_it_is_not_adapted_again_and_no_folder_is_overwritten(adapted, source, hospital, tmp_path):
    with pytest.raises(ValueError, match="was adapted before"):
        adapt_bundle(adapted[0], tmp_path / "again", datalist=hospital)
    assert not (tmp_path / "again").exists()
    with pytest.raises(FileExistsError, match="is not empty"):
        adapt_bundle(source.root, adapted[0], datalist=hospital)


@pytest.mark.slow
def test_a_new_last_layer_is_what_the_bundle_predicts_with(source, adapted, hospital, tmp_path):
    start = start_of(source)
    head = start.head._replace(weight=start.head.weight[::-1].copy())
    bundle = write_site_bundle(source, replace(start, head=head), adapted[1], tmp_path / "tuned")
    verify_bundle(bundle.root)
    assert np.allclose(head_of(bundle.load_network()).weight, head.weight)
    files = sorted(hospital.parent.glob("*.png"))[:3]
    one, other = (list(Classifier(b.root, device="cpu").predict(files)) for b in (source, bundle))
    assert one[0].probabilities != other[0].probabilities
    assert one[0].model["weights_sha256"] != other[0].model["weights_sha256"]


def test_nothing_stays_if_the_bundle_cannot_be_completed(source, adapted, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("covid_monai.adaptation.site_bundle.write_checksums", fail)
    with pytest.raises(OSError, match="No space"):
        write_site_bundle(source, start_of(source), adapted[1], tmp_path / "new" / "site")
    assert not list((tmp_path / "new").iterdir())


def test_a_bundle_without_a_calibration_or_a_class_normal_is_refused(source, tmp_path):
    other = Bundle(source.root, class_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="needs a class normal"):
        start_of(other)
    source.copy_to(tmp_path / "untrained")
    with pytest.raises(ValueError, match="no calibration or no operating point"):
        start_of(Bundle(tmp_path / "untrained"))
