"""Images with more than one class: left out, kept as listed, or an error; always named."""

from dataclasses import replace
from pathlib import Path

import pytest

from covid_monai.datasets.collections.base import Record
from covid_monai.datasets.duplicates.label_conflicts import check_label_conflicts, settle_label_conflicts
from covid_monai.datasets.duplicates.removal import name_groups

ROOT = Path("/data")


def image(name: str, class_name: str = "covid", source: str = "a", **facts) -> Record:
    return Record(ROOT / name, class_name, source, **facts)


RECORDS = [
    image("a.png"),
    image("b.png", "normal", "b"),
    image("c.png"),
    image("d.png"),
    image("e.png", "normal"),
    image("f.png", patient="P1"),
    image("g.png", "normal", patient="P1"),  # the same patient on another day
]
GROUPS = name_groups([[ROOT / "a.png", ROOT / "b.png"], [ROOT / "c.png", ROOT / "d.png"]], root=ROOT)
COPIES = {
    "group": "a.png",
    "images": [
        {"image": "a.png", "class": "covid", "source": "a"},
        {"image": "b.png", "class": "normal", "source": "b"},
    ],
}


def settle(treatment="drop", records=RECORDS):
    return settle_label_conflicts(records, GROUPS, root=ROOT, treatment=treatment)


def test_all_copies_of_an_image_with_two_classes_are_left_out_and_named():
    kept, excluded, conflicts = settle()
    assert conflicts == [COPIES]
    assert [record.image.name for record in kept] == ["c.png", "d.png", "e.png", "f.png", "g.png"]
    assert [(each.image.name, each.reason) for each in excluded] == [
        ("a.png", "contradicting labels: covid, normal"),
        ("b.png", "contradicting labels: covid, normal"),
    ]


def test_a_file_listed_again_with_another_class_is_a_conflict_of_all_its_copies():
    again = {"d.png": image("d.png", "pneumonia", "t"), "e.png": image("e.png", "normal")}
    listed = [replace(r, repeated=(again[r.image.name],)) if r.image.name in again else r for r in RECORDS]
    kept, excluded, conflicts = settle(records=listed)
    assert [conflict["group"] for conflict in conflicts] == ["a.png", "c.png"]
    assert [tuple(each.values()) for each in conflicts[1]["images"]] == [
        ("c.png", "covid", "a"),
        ("d.png", "covid", "a"),
        ("d.png", "pneumonia", "t"),
    ]
    assert [record.image.name for record in kept] == ["e.png", "f.png", "g.png"]
    assert {each.reason for each in excluded[2:]} == {"contradicting labels: covid, pneumonia"}


def test_the_user_decides_otherwise():
    kept, excluded, conflicts = settle(treatment="keep")
    assert kept == RECORDS
    assert not excluded
    assert conflicts == [COPIES]
    with pytest.raises(
        ValueError, match=r"1 image has contradicting labels.*a.png \(covid\), b.png \(normal\)"
    ):
        settle(treatment="error")
    assert settle(treatment="error", records=RECORDS[2:])[0] == RECORDS[2:]
    assert check_label_conflicts("keep") == "keep"
    with pytest.raises(ValueError, match=r"Unknown treatment of label conflicts 'kep'.*drop, keep, error"):
        check_label_conflicts("kep")
