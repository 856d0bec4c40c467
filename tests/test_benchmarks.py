"""Benchmarks that no gate runs at full size still run, and their own checks hold."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax

from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
from covid_monai.phantoms.radiograph import draw_radiograph

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def measure(tmp_path, script, *arguments):
    output = tmp_path / "out.json"
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / script), "--output", str(output)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return json.loads(output.read_text())


def test_the_cuda_rates_are_measured_on_a_cpu_too(tmp_path):
    report = measure(tmp_path, "cuda_rate.py", "--device", "cpu", "--quick")
    loops = [row["loop"] for row in report["training"]]
    assert loops == ["MONAI, eager fp32", "ours", "ours, synthetic tensor"]
    assert all(row["images_per_second"] > 0 for row in [*report["training"], *report["inference"]])
    assert report["roofline"]["gflop"] > 0


def test_growth_is_measured_and_finds_the_images_planted(tmp_path):
    stages = ("--stages", "prepare", "evaluate", "--plot", "g.png")
    rows = measure(tmp_path, "growth.py", "--sizes", "50", "100", *stages)
    assert [(row["stage"], row["images"]) for row in rows] == [
        *(("prepare", 50), ("prepare", 100), ("evaluate", 50), ("evaluate", 100))
    ]
    assert all(row["right"] and row["memory_mib"] > 10 for row in rows)
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


def test_a_domain_left_out_is_adapted_with_some_of_its_patients(tmp_path):
    rng, labels = np.random.default_rng(0), np.repeat([0, 2], (120, 40))
    probabilities = softmax(rng.normal(size=(160, 3)) + 2 * np.eye(3)[labels] + [0, 0, 1], axis=1)
    predictions = [
        {"image": f"{n}.png", "split": "test", "patient": str(n), "label": label, "probabilities": row}
        for n, (label, row) in enumerate(zip(labels.tolist(), probabilities, strict=True))
    ]
    # Further images of a patient, which count once.
    predictions += [{**row, "image": f"again {row['image']}"} for row in predictions[:30]]
    table = tmp_path / "predictions.csv"
    write_predictions(table, predictions, ("normal", "pneumonia", "covid"))
    rows = measure(tmp_path, "adapt.py", "--predictions", str(table), "--draws", "50")
    assert [(row["class"], row["local"], row["test_normals"]) for row in rows] == [
        *(("covid", 60, 60), ("covid", 100, 20))
    ]
    for row in rows:
        alarms, found = row["false_alarms"], row["sensitivity"]
        assert alarms["after"]["mean"] < 0.05 < alarms["before"]["mean"]
        assert 0.3 < found["after"]["mean"] < found["before"]["mean"]


def test_what_a_search_among_a_share_misses_is_counted(tmp_path):
    for number in range(8):
        image = Image.fromarray((draw_radiograph("normal", seed=number, size=256) * 255).astype("uint8"))
        image.save(tmp_path / f"{number}.png")
        image.resize((200, 200)).save(tmp_path / f"{number}.jpg")
    report = measure(tmp_path, "duplicate_search.py", str(tmp_path), "--share", "0.5")
    assert report["images"] == 16
    everything, half = report["rows"]
    assert everything["found"] >= 8
    assert 0 < half["found"] <= everything["found"]
    assert [everything["share"], half["share"]] == [1, 0.5]
    assert half["recall"] == half["found"] / everything["found"]


def unseen_options(folder):
    """Write a datalist of noise to a folder; return the options of trainings of one step on it."""
    rng, items = np.random.default_rng(0), []
    cells = [("kermany", 0), ("kermany", 1), ("darkcovidnet", 0), ("darkcovidnet", 1)]
    cells += [("ieee8023", 1), ("ieee8023", 2), ("covid-cxnet", 2)]
    for number, (source, label) in enumerate(cells * 8):
        pixels = rng.integers(0, 256, (96, 96), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        facts = {"source": source, "view": ("PA", "AP")[number // 7 % 2], "patient": f"{source}:{number}"}
        facts |= {"hospital": "Hannover Medical School"} if source == "ieee8023" and number > 40 else {}
        items.append({"image": f"{number}.png", "label": label, **facts})
    content = {"labels": {"0": "normal", "1": "pneumonia", "2": "covid"}}
    content |= {"training": items[14:], "validation": items[:7], "test": items[7:14]}
    (folder / "list.json").write_text(json.dumps(content))
    return ["--datalist", str(folder / "list.json"), "--output", str(folder / "unseen"), "--steps", "1"]


def test_arms_are_trained_without_a_domain_and_compared(tmp_path):
    given = [*unseen_options(tmp_path), "--arms", "recipe_0_1_0", "pool"]
    output = tmp_path / "unseen"
    trained = [run_task(tmp_path, task, given) for task in ("train", "train", "table")]
    assert trained == [8, 0, 0]  # what is there is not trained again
    table = json.loads((output / "table.json").read_text())
    assert list(table) == ["recipe_0_1_0, average", "pool, average"]
    assert table["recipe_0_1_0, average"]["gain"]["value"] == 0
    assert 0 <= table["pool, average"]["secondary"]["worst_alarms"] <= 1
    with np.load(output / "pool" / "nih-0.npz") as run:
        content = json.loads((tmp_path / "list.json").read_text())
        items = [item for split in ("training", "validation", "test") for item in content[split]]
        assert {Path(name).name for name in run["images"]} == {
            item["image"] for item in items if item["source"] == "darkcovidnet"
        }
        np.testing.assert_allclose(np.exp(run["average"]).sum(axis=1), 1, atol=1e-5)


def test_seeds_are_joined_to_one_network(tmp_path):
    given = [*unseen_options(tmp_path), "--folds", "nih"]
    with pytest.raises(AssertionError, match="member --seeds 0 --keep first"):
        run_task(tmp_path, "train", [*given, "--arms", "soup"])
    assert run_task(tmp_path, "train", [*given, "--keep", "--seeds", "0", "1", "2", "--arms", "member"]) == 3
    assert run_task(tmp_path, "train", [*given, "--arms", "soup", "ensemble", "distilled"]) == 3
    assert run_task(tmp_path, "train", [*given, "--keep", "--arms", "soup_bn"]) == 1
    folder = tmp_path / "unseen"
    scores = {}
    for path in sorted(folder.glob("*/nih-*.npz")):
        with np.load(path) as run:
            scores[f"{path.parent.name} {path.stem[-1]}"] = run["average"]
    mean = np.mean([scores[f"member {seed}"] for seed in range(3)], axis=0)
    np.testing.assert_allclose(scores["ensemble 0"], mean, atol=1e-5)
    assert len({array.tobytes() for array in scores.values()}) == 7
    run_task(tmp_path, "unseen_sources", [*given, "--arms", "soup_bn"])
    unseen = json.loads((folder / "soup_bn" / "unseen_sources.json").read_text())
    assert list(unseen["sources"]) == ["nih"]
    assert "a cut needs 2" in unseen["notes"][0]
    scored = read_predictions(folder / "soup_bn" / "nih.csv")
    assert {"darkcovidnet", "covid-cxnet"} <= set(scored.sources)
    kept = [torch.load(folder / "member" / f"nih-{seed}.pt", weights_only=True) for seed in range(3)]
    name = next(name for name in kept[0] if name.startswith("_fc") and name.endswith("bias"))
    assert not torch.equal(kept[0][name], kept[1][name])


def test_two_heads_give_probabilities_and_their_loss_ignores_the_share_of_a_source(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from unseen_arms import ARMS, compute_loss, log_probabilities

    outputs, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    torch.testing.assert_close(log_probabilities(outputs, "two").exp().sum(1), torch.ones(6))
    none, hidden = torch.zeros(6, 3), torch.zeros(6, dtype=torch.bool)
    for name in ("base", "two_heads"):  # without an offset the shares do not count, with one they do
        plain = compute_loss(outputs, labels, none, hidden, ARMS[name])
        shares = torch.tensor([0.8, 0.1, 0.1]).log().expand(6, 3)
        assert compute_loss(outputs, labels, shares, hidden, ARMS[name]) == plain
        offset = replace(ARMS[name], offset=1.0)
        assert compute_loss(outputs, labels, shares, hidden, offset) != plain
        # The same shares of all classes change nothing.
        torch.testing.assert_close(compute_loss(outputs, labels, none - 1, hidden, offset), plain)


def run_task(folder, task, options):
    """Run the script of the unseen hospitals, and return the number of trainings that it began."""
    script = str(ROOT / "benchmarks" / "unseen_hospitals.py")
    command = [sys.executable, "-W", "ignore", script, task, *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout.count(", without ")
