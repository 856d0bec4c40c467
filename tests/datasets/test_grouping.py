"""Groups of what belongs together, whatever the order."""

import random
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from covid_monai.datasets.collections.base import Record
from covid_monai.datasets.grouping import (
    connected,
    connected_groups,
    join_copies,
    largest_group,
    whole_hospitals,
)

NAMES = st.sampled_from("abcdefgh")


ROOT = Path("/data")


def image(name: str, class_name: str = "covid", **facts) -> Record:
    return Record(ROOT / name, class_name, facts.pop("source", "a"), **facts)


def paths(*names: str) -> tuple[Path, ...]:
    return tuple(ROOT / name for name in names)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=12), st.randoms(use_true_random=False))
def test_groups_are_a_partition_whatever_the_order_of_the_pairs(pairs, rng):
    groups = connected(pairs)
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted({name for pair in pairs for name in pair})
    assert all({first, second} <= set(group) for first, second in pairs for group in groups if first in group)
    for group in groups:  # no group falls apart into two without a pair between them
        reached = {group[0]}
        for _ in group:
            reached |= {name for pair in pairs if reached & set(pair) for name in pair}
        assert reached == set(group)
    rng.shuffle(pairs)
    assert connected([(second, first) for first, second in pairs]) == groups


def test_images_that_two_sources_share_by_name_make_one_patient():
    def named(source, stem, patient):
        return Record(Path(f"/data/{source}/{stem}.png"), "covid", source, patient)

    records = [
        named("b", "Lancet-Case2A", "7"),
        named("b", "lancet-case2b", "7"),
        named("a", "lancet-case2b", "lancet"),
        named("a", "lancet-case2c", "lancet"),
        named("a", "0105", "1"),
        named("b", "0105", "1"),
        named("a", "nejmoa2001191_f1", None),
    ]
    linked = join_copies(records, root=ROOT)
    assert [r.patient for r in linked] == [*["a:lancet"] * 4, "a:1", "b:1", "a:a/nejmoa2001191_f1.png"]
    shuffled = records[::]
    random.Random(0).shuffle(shuffled)
    again = join_copies(shuffled, root=ROOT)
    assert {(r.image, r.patient) for r in again} == {(r.image, r.patient) for r in linked}


def test_patients_of_one_image_become_one_person():
    records = [
        image("x/1.png", patient="7"),
        image("x/2.png", patient="7"),
        image("y/9.png", source="b"),
        image("y/8.png", source="b"),
    ]
    linked = join_copies(records, root=ROOT, same_image=[paths("x/2.png", "y/9.png")])
    assert [record.patient for record in linked] == ["a:7", "a:7", "a:7", "b:y/8.png"]
    assert [replace(record, patient=None) for record in linked] == [
        replace(record, patient=None) for record in records
    ]


def test_falsy_patients_and_groups_join_and_missing_ones_do_not():
    items = [
        {"image": str(number), "patient": patient} for number, patient in enumerate((0, "0", None, "", 0.0))
    ]
    assert connected_groups(items).tolist() == [0, 0, 1, 2, 0]
    grouped = [
        {"image": str(n), "patient": n, "group": group} for n, group in enumerate((0, 0, None, None, ""))
    ]
    assert connected_groups(grouped).tolist() == [0, 0, 1, 2, 3]


def test_an_unknown_image_takes_the_patient_of_its_copy_and_joins_no_others():
    """Neighbours of an image chain patients together only as long as no copy names its patient."""
    middle = image("y/2.png", source="b", beside=paths("y/1.png", "y/3.png"))
    records = [
        image("x/1.png", patient="7"),
        image("y/1.png", source="b", patient="one"),
        middle,
        image("y/3.png", source="b", patient="three"),
        image("y/9.png", source="b", beside=paths("y/8.png")),
        image("y/8.png", source="b", beside=paths("y/9.png")),
    ]
    named = join_copies(records, root=ROOT, same_image=[paths("x/1.png", "y/2.png")])
    assert [r.patient for r in named] == ["a:7", "b:one", "a:7", "b:three", "b:y/8.png", "b:y/8.png"]
    alone = join_copies(records[1:], root=ROOT)
    assert [r.patient for r in alone] == ["b:one", "b:one", "b:one", "b:y/8.png", "b:y/8.png"]


def test_an_image_without_a_hospital_takes_that_of_its_copy():
    records = [
        image("x/1.png", hospital="H"),
        image("y/1.png", source="b"),
        image("y/2.png", source="b", hospital="own"),
        image("y/3.png", source="b"),
    ]
    joined = join_copies(records, root=ROOT, same_image=[paths("x/1.png", "y/1.png", "y/2.png")])
    assert [record.hospital for record in joined] == ["H", "H", "own", None]


def hospital_items(*sizes: int, label: str = "covid") -> list[dict]:
    """One image of each patient; `sizes` patients of each hospital."""
    owners = [f"{label}{hospital}" for hospital, size in enumerate(sizes) for _ in range(size)]
    return [
        {"image": f"{label}{i}", "patient": f"{label}{i}", "hospital": h, "label": label}
        for i, h in enumerate(owners)
    ]


def test_hospitals_stay_whole_unless_too_few_images_of_a_class_are_in_smaller_groups():
    small = [1] * 60
    assert whole_hospitals(hospital_items(*small, 40)) == {f"covid{i}" for i in range(61)}
    assert whole_hospitals(hospital_items(*small, 200)) == {f"covid{i}" for i in range(60)}
    assert whole_hospitals(hospital_items(50, 50)) == set()
    assert whole_hospitals(hospital_items(*[8] * 12)) == {f"covid{i}" for i in range(12)}
    both = hospital_items(*small, 200) + hospital_items(*small, 5, label="normal")
    assert len(whole_hospitals(both)) == 60 + 61
    nameless = [{**item, "hospital": None} for item in both]
    assert whole_hospitals(nameless) == set()


def test_the_largest_group_is_5_percent_of_the_class_while_enough_remains():
    assert largest_group([1] * 100) == 5
    assert largest_group([60] + [1] * 40) == 5
    assert largest_group([8] * 12) == 0.1 * 96
    assert largest_group([30, 30, 40]) is None
