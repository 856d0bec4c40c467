"""Studies are read and checked, and their rules select images."""

from pathlib import Path

import pytest
from experiment_helpers import image

from covid_monai.datasets.collections import SOURCES
from covid_monai.experiments.study import read_study, select_images

ROOT = Path(__file__).parents[2]

STUDIES = sorted(
    path for path in (ROOT / "configs" / "experiments").glob("*.yaml") if "\nstudy:" in path.read_text()
)


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


def test_another_protocol_and_one_variant_are_taken_and_unknown_ones_named():
    path = ROOT / "configs" / "experiments" / "d.yaml"
    study = read_study(path, protocol="folds_by_image", variant="resnet18")
    assert (study.protocol, [*study.variants]) == ("folds_by_image", ["resnet18"])
    assert study.variants["resnet18"] == read_study(path).variants["resnet18"]
    with pytest.raises(ValueError, match="Did you mean 'folds_by_image'"):
        read_study(path, protocol="fold_by_image")
    with pytest.raises(ValueError, match=r"Unknown variant 'resnet'\. Did you mean 'resnet18'"):
        read_study(path, variant="resnet")


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
