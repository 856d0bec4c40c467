"""Records that show one image: copies go, groups are not split, contradicting labels are always named."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.datasets.collections.base import Record
from covid_monai.datasets.duplicates.removal import drop_copies, name_groups, settle_label_conflicts
from covid_monai.datasets.grouping import connected, join_copies
from covid_monai.datasets.prepare import prepare
from covid_monai.datasets.split import split_by_patient

ROOT = Path("/data")


def image(name: str, class_name: str = "covid", source: str = "a", **facts) -> Record:
    return Record(ROOT / name, class_name, source, **facts)


def paths(*names: str) -> tuple[Path, ...]:
    return tuple(ROOT / name for name in names)


def test_of_copies_the_one_that_tells_most_stays_and_the_reason_names_it():
    records = [
        image("a/1.png"),
        image("b/1.png", view="PA", age=50),
        image("c/1.png", sex="F"),
        image("d.png"),
    ]
    kept, excluded = drop_copies(
        records, [paths("a/1.png", "b/1.png", "c/1.png", "z/not-listed.png")], root=ROOT
    )
    assert [record.image for record in kept] == list(paths("b/1.png", "d.png"))
    assert {left_out.image: left_out.reason for left_out in excluded} == dict.fromkeys(
        paths("c/1.png", "a/1.png"), "same pixels as b/1.png"
    )


def test_a_published_test_keeps_all_its_images():
    records = [image("1.png", view="PA"), image("2.png", split="test"), image("3.png", split="test")]
    kept, excluded = drop_copies(records, [paths("1.png", "2.png", "3.png")], root=ROOT)
    assert [record.image for record in kept] == list(paths("2.png", "3.png"))
    assert [left_out.reason for left_out in excluded] == ["same pixels as 2.png"]


def test_a_group_is_named_by_its_first_file():
    group_of = name_groups([paths("a.png", "b.png"), paths("c.png", "d.png")], root=ROOT)
    assert group_of[ROOT / "d.png"] == "c.png"
    assert ROOT / "e.png" not in group_of


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["normal", "covid"]),
        st.sampled_from(["a", "b"]),
        st.one_of(st.none(), st.integers(0, 9)),
        st.sampled_from([None, None, None, "training", "validation", "test"]),
    ),
    max_size=40,
).map(
    lambda rows: [
        image(f"{source}/{i}.png", name, source=source, patient=None if p is None else str(p), split=split)
        for i, (name, source, p, split) in enumerate(rows)
    ]
)


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.data())
def test_no_split_divides_a_group_and_a_published_test_stays(records, data):
    files = [record.image for record in records]
    pair = st.tuples(st.sampled_from(files), st.sampled_from(files)) if files else st.nothing()
    pairs = [p for p in data.draw(st.lists(pair, max_size=12)) if p[0] != p[1]] if files else []
    groups = connected(pairs)
    copies = connected(data.draw(st.lists(st.sampled_from(pairs))) if pairs else [])
    linked = join_copies(records, root=ROOT, same_image=groups)
    kept, dropped = drop_copies(linked, copies, root=ROOT)
    splits = split_by_patient(kept, validation_fraction=0.2, test_fraction=0.2, seed=0)

    split_of = {r.image: name for name in ("training", "validation", "test") for r in getattr(splits, name)}
    for group in groups:
        assert len({split_of[image] for image in group if image in split_of}) <= 1
    gone = {left_out.image for left_out in (*dropped, *splits.excluded)}
    assert gone | set(split_of) == set(files)
    assert not gone & set(split_of)
    assert all(split_of[record.image] == "test" for record in records if record.split == "test")
    backwards = join_copies(records[::-1], root=ROOT, same_image=groups[::-1])
    assert {r.image: r.patient for r in backwards} == {r.image: r.patient for r in linked}


LABELLED = [
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


def settle(treatment="drop", records=LABELLED):
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
    listed = [replace(r, repeated=(again[r.image.name],)) if r.image.name in again else r for r in LABELLED]
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
    assert kept == LABELLED
    assert not excluded
    assert conflicts == [COPIES]
    with pytest.raises(
        ValueError, match=r"1 image has contradicting labels.*a.png \(covid\), b.png \(normal\)"
    ):
        settle(treatment="error")
    assert settle(treatment="error", records=LABELLED[2:])[0] == LABELLED[2:]
    with pytest.raises(ValueError, match=r"Unknown treatment of label conflicts 'kep'.*drop, keep, error"):
        prepare([], output="list.json", label_conflicts="kep")
