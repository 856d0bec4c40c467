"""An archive scored by Ray's workers: the records of the classifier, continued after a stop, none lost."""

import json
import os
import shutil
from pathlib import Path

import pytest
from results_helpers import small_classifier

from covid_monai.datasets.datalist import SPLITS, read_datalist
from covid_monai.inference import ray_cluster

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def not_behind_all_others(monkeypatch):
    """Ray's workers are nice to everything else; beside a busy gate they would hardly start."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture(scope="module")
def archive(phantoms, tmp_path_factory):
    """Some images and what is none, a bundle, and the classifier's own records by file."""
    pytest.importorskip("ray", reason="needs the extra cluster")
    folder = tmp_path_factory.mktemp("archive")
    classifier = small_classifier(folder / "bundle")
    images = [record["image"] for split in SPLITS for record in read_datalist(phantoms).records(split)][:12]
    for number, image in enumerate(images):
        name = os.fsencode(f"{number}") + (b"\xff" if number == 3 else b"")  # a name that is no text
        shutil.copy(image, os.fsencode(folder) + b"/" + name + os.fsencode(Path(image).suffix))
    (folder / "page.png").write_text("<html>")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return files, folder / "bundle", {p.file: p.to_json() for p in classifier.predict(files)}


def _same(record, expected):
    if expected["probabilities"] is not None:  # which images share a batch moves the last digits
        assert record.pop("probabilities") == pytest.approx(expected["probabilities"], abs=1e-5)
    assert record == {key: value for key, value in expected.items() if key in record}


def test_two_workers_give_the_records_of_the_classifier_and_go_on_where_a_run_stopped(archive, run, tmp_path):
    files, bundle, expected = archive
    output = tmp_path / "out" / "records.jsonl"
    output.parent.mkdir()
    first = json.dumps(expected[str(files[0])])
    (tmp_path / "out" / "records.jsonl.partial").write_text(f"{first}\n{first[:40]}")  # killed as it wrote
    code, _, said = run("score-archive", *files, "--bundle", bundle, "--output", output, "--batch-size", 2)
    assert code == 1
    assert "12 ok, 1 error" in said
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert records[0] == expected[str(files[0])]
    assert sorted(record["file"] for record in records) == sorted(expected)
    for record in records:
        _same(record, expected[record["file"]])
    assert [path.name for path in output.parent.iterdir()] == ["records.jsonl"]


def test_a_file_that_takes_its_worker_down_gets_a_record_and_the_others_their_own(
    archive, monkeypatch, tmp_path
):
    class Fragile(ray_cluster._Worker):
        def __call__(self, batch):
            if any(b"page" in file for file in batch["file"]):
                os._exit(1)  # as a decoder does that crashes
            return super().__call__(batch)

    files, bundle, expected = archive
    monkeypatch.setattr(ray_cluster, "_Worker", Fragile)
    monkeypatch.setattr(ray_cluster, "_BATCHES_PER_TASK", 1)
    output = tmp_path / "records.jsonl"
    outcomes = ray_cluster.classify_on_cluster(files, output, bundle_dir=bundle, workers=2, batch_size=1)
    records = {record["file"]: record for record in map(json.loads, output.read_text().splitlines())}
    assert outcomes == {"ok": 12, "error": 1}
    assert records.keys() == expected.keys()
    (lost,) = (record for record in records.values() if record["status"] == "error")
    assert lost["file"].endswith("page.png")
    assert "worker died" in lost["detail"]


def test_lines_of_another_model_are_not_continued(archive, tmp_path):
    files, bundle, expected = archive
    other = expected[str(files[0])] | {"model": {"name": "another"}}
    (tmp_path / "records.jsonl.partial").write_text(json.dumps(other) + "\n")
    with pytest.raises(ValueError, match="another model"):
        ray_cluster.classify_on_cluster(files, tmp_path / "records.jsonl", bundle_dir=bundle)
    with pytest.raises(ValueError, match=r"\.jsonl"):
        ray_cluster.classify_on_cluster(files, tmp_path / "records.csv", bundle_dir=bundle)
