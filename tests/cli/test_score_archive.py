"""The command score-archive: what it asks of the cluster and says of its outcome."""

import json
from collections import Counter

import pytest

from covid_monai.core.vocabulary import RESEARCH_USE


@pytest.fixture
def cluster(monkeypatch):
    """A cluster that answers at once with the outcomes that the test sets."""
    asked = {"outcomes": Counter(ok=2)}

    def classify(files, output, **options):
        print("a library's greeting")
        asked.update(options, files=files, output=output)
        return asked["outcomes"]

    monkeypatch.setattr("covid_monai.inference.ray_cluster.classify_on_cluster", classify)
    return asked


def test_files_have_absolute_paths_and_all_ok_is_code_0(run, bundle, images, tmp_path, cluster, monkeypatch):
    monkeypatch.chdir(images.parent)
    options = ("--bundle", bundle.root, "--address", "head:6379", "--workers", 5, "--batch-size", 3)
    code, _, err = run("score-archive", images.name, "--output", tmp_path / "o.jsonl", *options)
    assert code == 0
    assert cluster["files"] == [images / name for name in ("a.png", "b.jpg", "c.png")]
    assert (cluster["address"], cluster["workers"], cluster["batch_size"]) == ("head:6379", 5, 3)
    assert cluster["bundle_dir"] == bundle.root
    assert f"2 files: 2 ok. Written to {tmp_path / 'o.jsonl'}." in err
    assert RESEARCH_USE in err


def test_an_image_without_a_class_is_code_1_and_json_stays_clean(run, bundle, images, tmp_path, cluster):
    cluster["outcomes"] = Counter({"ok": 1, "refused: blank": 1})
    output = tmp_path / "o.jsonl"
    code, out, err = run("score-archive", images, "--bundle", bundle.root, "--output", output, "--json")
    assert code == 1
    assert json.loads(out) == {
        **{"output": str(output), "files": {"ok": 1, "refused: blank": 1}},
        "notice": RESEARCH_USE,
    }
    assert "greeting" in err


def test_no_image_is_wrong_usage(run, bundle, tmp_path, cluster):
    code, _, err = run(
        "score-archive", tmp_path / "no", "--bundle", bundle.root, "--output", tmp_path / "o.jsonl"
    )
    assert code == 2
    assert str(tmp_path / "no") in err
    assert "files" not in cluster
