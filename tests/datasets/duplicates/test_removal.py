"""What becomes of records that show one image: copies go, a group stays on one side of the split."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.datasets.collections.base import Record
from covid_monai.datasets.duplicates.removal import drop_copies, name_groups
from covid_monai.datasets.grouping import connected, link_shared_images, name_patients
from covid_monai.datasets.split import split_by_patient

ROOT = Path("/data")


def image(name: str, class_name: str = "covid", **facts) -> Record:
    return Record(ROOT / name, class_name, facts.pop("source", "a"), **facts)


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
    linked = link_shared_images(name_patients(records, root=ROOT), same_image=groups)
    kept, dropped = drop_copies(linked, copies, root=ROOT)
    splits = split_by_patient(kept, validation_fraction=0.2, test_fraction=0.2, seed=0)

    split_of = {r.image: name for name in ("training", "validation", "test") for r in getattr(splits, name)}
    for group in groups:
        assert len({split_of[image] for image in group if image in split_of}) <= 1
    gone = {left_out.image for left_out in (*dropped, *splits.excluded)}
    assert gone | set(split_of) == set(files)
    assert not gone & set(split_of)
    assert all(split_of[record.image] == "test" for record in records if record.split == "test")
    backwards = link_shared_images(name_patients(records[::-1], root=ROOT), same_image=groups[::-1])
    assert {r.image: r.patient for r in backwards} == {r.image: r.patient for r in linked}
