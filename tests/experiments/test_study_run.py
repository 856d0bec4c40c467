"""Experiments: which images, which folds, and one whole study on phantoms."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from covid_monai.cli.main import app
from covid_monai.datasets.collections import SOURCES
from covid_monai.datasets.grouping import connected_groups
from covid_monai.evaluation.metrics.prediction_table import read_predictions
from covid_monai.experiments.folds import make_folds
from covid_monai.experiments.pooled_results import compute_pooled_metrics
from covid_monai.experiments.study import read_study, select_images

ROOT = Path(__file__).parents[2]
STUDIES = sorted(
    path for path in (ROOT / "configs" / "experiments").glob("*.yaml") if "\nstudy:" in path.read_text()
)


def image(index: int, **known) -> dict:
    return {
        "image": f"train/{index:03}.png",
        "class": "normal",
        "label": 0,
        "source": "a",
        "patient": str(index),
    } | known


IMAGES = st.lists(
    st.builds(
        dict,
        label=st.integers(0, 1),
        patient=st.integers(0, 30).map(str),
        group=st.one_of(st.none(), st.integers(0, 8)),
        source=st.sampled_from(["a", "b"]),
    ),
    min_size=1,
    max_size=80,
).map(lambda rows: [image(i, **row) for i, row in enumerate(rows)])


@settings(max_examples=100, deadline=None)
@given(IMAGES)
def test_clusters_join_images_that_share_a_patient_or_a_group_and_no_others(images):
    clusters = connected_groups(images)
    for i, one in enumerate(images):
        for j, other in enumerate(images):
            shared = one["patient"] == other["patient"] or (
                one["group"] is not None and one["group"] == other["group"]
            )
            assert not shared or clusters[i] == clusters[j]
    # Every cluster holds together: from its first image all others are reached over shared names.
    for number in np.unique(clusters):
        members = [images[i] for i in np.flatnonzero(clusters == number)]
        names = {("p", members[0]["patient"]), ("g", members[0]["group"])}
        for _ in members:
            for member in members:
                own = {("p", member["patient"]), ("g", member["group"])} - {("g", None)}
                names |= own if own & names else set()
        assert all(("p", member["patient"]) in names for member in members)


@settings(max_examples=60, deadline=None)
@given(IMAGES, st.sampled_from(["folds", "leave_one_source_out", "leave_one_patient_out"]))
def test_no_fold_divides_a_cluster_and_every_image_is_tested_once(images, protocol):
    clusters = dict(zip((f["image"] for f in images), connected_groups(images), strict=True))
    tested: list[str] = []
    try:
        for _, fold in make_folds(images, protocol=protocol, folds=3, seed=0):
            parts = [{clusters[f["image"]] for f in fold[split]} for split in fold]
            assert len(set.union(*parts)) == sum(map(len, parts))
            tested += [f["image"] for f in fold["test"]]
    except ValueError:
        return  # too few patients or sources; that is said below
    assert sorted(tested) == sorted(clusters)


def test_too_few_patients_for_the_folds_are_named():
    images = [image(i, label=int(i > 7)) for i in range(10)]
    with pytest.raises(ValueError, match="3 folds need as many patients in each class, but one class has 2"):
        list(make_folds(images, protocol="folds", folds=3, seed=0))


def test_rules_take_rename_and_bound_with_one_image_of_each_patient_first():
    images = [
        image(0, patient="p"),
        image(1, patient="p"),
        image(2, patient="q"),
        image(3, source="b", view="PA", **{"class": "covid"}),
        image(4, source="b", view="L", **{"class": "covid"}),
        image(5, image="train/person1_virus_2.jpeg", **{"class": "pneumonia"}),
    ]
    rules = [
        {"source": "a", "class": "normal", "at_most": 2},
        {"source": ["b"], "view": "PA"},
        {"image": "*virus*", "as": "viral"},
    ]
    taken = [(f["image"], f["class"]) for f in select_images(images, rules)]
    assert taken == [
        ("train/000.png", "normal"),
        ("train/002.png", "normal"),
        ("train/003.png", "covid"),
        ("train/person1_virus_2.jpeg", "viral"),
    ]
    assert select_images(images, []) == images


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_the_repository_reads_and_names_known_sources(path):
    study = read_study(path)
    assert {name for name, _ in study.sources} <= set(SOURCES)
    assert {rule["source"] for rule in study.take if isinstance(rule.get("source"), str)} <= {
        name for name, _ in study.sources
    }
    assert study.published["where"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_size: 64\n", "has no `study`"),
        ("study: {title: T, sources: [], protocol: folds, colour: red}\n", "unknown keys \\['colour'\\]"),
        (
            "study: {title: T, sources: [], protocol: guess}\n",
            "Unknown protocol 'guess'. Choose one of: official_test",
        ),
        ("study: {title: T, sources: [], protocol: folds, take: [{sex: F}]}\n", "has an unknown key"),
    ],
)
def test_a_wrong_study_is_named(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_study(path)


@pytest.mark.slow
def test_a_study_runs_whole_and_a_second_call_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns.db")
    runner = CliRunner()
    made = runner.invoke(
        app, f"data phantom {tmp_path}/own --patients 24 --size 128 --no-ct --format png".split()
    )
    assert made.exit_code == 0, made.output
    phantoms = json.loads((tmp_path / "own" / "datalist.json").read_text())
    with (tmp_path / "own" / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "label", "patient"], extrasaction="ignore")
        writer.writeheader()
        for item in phantoms["training"] + phantoms["validation"] + phantoms["test"]:
            writer.writerow(item | {"label": phantoms["labels"][str(item["label"])]})
    (tmp_path / "study.yaml").write_text(
        "network_name: resnet10\nimage_size: 32\nmax_epochs: 1\nbatch_size: 4\n"
        "study:\n  title: Phantoms\n  sources: [[csv, own]]\n  protocol: folds\n  folds: 2\n"
        "  take:\n  - {class: normal}\n  - {class: covid}\n  classes: [normal, covid]\n"
        "  subsets: {odd ones: '*[13579].png'}\n"
        "  published: {accuracy: 0.9, where: nobody}\n"
    )
    command = ["experiment", str(tmp_path / "study.yaml"), "--data", str(tmp_path)]
    command += ["--output", str(tmp_path / "out")]
    first = runner.invoke(app, command)
    assert first.exit_code == 0, first.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    folds = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "folds").glob("*.json"))]
    assert len(folds) == 2
    assert result["variants"]["default"]["n"] == sum(len(fold["test"]) for fold in folds)
    pooled = read_predictions(tmp_path / "out" / "default" / "predictions.csv")
    tested = {item["image"] for fold in folds for item in fold["test"]}
    assert set(pooled.splits) == {"test"}
    assert len(pooled) == len(tested)
    assert result["variants"]["default"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(pooled.labels, pooled.probabilities[:, 1])
    )
    odd = result["variants"]["default"]["subsets"]["odd ones"]
    assert (
        odd["n"] == sum(name.endswith(("1.png", "3.png", "5.png", "7.png", "9.png")) for name in tested) > 0
    )
    assert 0 <= odd["accuracy"]["low"] <= odd["accuracy"]["value"] <= odd["accuracy"]["high"] <= 1
    with pytest.raises(ValueError, match="no test image matches nothing"):
        compute_pooled_metrics(sorted((tmp_path / "out" / "default").glob("0?")), {"none": "nothing"})
    assert "| accuracy | 0.9 | " in (tmp_path / "out" / "table.md").read_text()
    weights = sorted((tmp_path / "out").rglob("model.pt"))
    times = [path.stat().st_mtime_ns for path in weights]
    again = runner.invoke(app, [*command, "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == result
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
