"""Groups of what belongs together, whatever the order."""

import random
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from covid_monai.datasets.collections.base import Record
from covid_monai.datasets.grouping import connected, connected_groups, link_shared_images, name_patients

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
    linked = link_shared_images(name_patients(records, root=Path("/data")))
    assert [r.patient for r in linked] == [*["a:lancet"] * 4, "a:1", "b:1", "a:a/nejmoa2001191_f1.png"]
    shuffled = records[::]
    random.Random(0).shuffle(shuffled)
    again = link_shared_images(name_patients(shuffled, root=Path("/data")))
    assert {(r.image, r.patient) for r in again} == {(r.image, r.patient) for r in linked}


def test_patients_of_one_image_become_one_person():
    records = [
        image("x/1.png", patient="7"),
        image("x/2.png", patient="7"),
        image("y/9.png", source="b"),
        image("y/8.png", source="b"),
    ]
    linked = link_shared_images(name_patients(records, root=ROOT), same_image=[paths("x/2.png", "y/9.png")])
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
