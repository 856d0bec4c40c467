"""Splits by patient: what must hold for any collection."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.datasets.collections.base import Record
from covid_monai.datasets.split import Splits, split_by_patient

PARTS = ("training", "validation", "test")


def image(number: int, class_name: str, patient: str, *, split=None, source: str = "a") -> Record:
    return Record(Path(f"/{source}/{number:05}.png"), class_name, source, patient, split)


def patients(splits: Splits, part: str) -> set[str]:
    return {str(record.patient) for record in getattr(splits, part)}


def cohort(sizes: dict[tuple[str, str], int]) -> list[Record]:
    """`sizes` patients of each (source, class), with one to three images."""
    records: list[Record] = []
    for (source, class_name), count in sizes.items():
        for index in range(count):
            for _ in range(1 + index % 3):
                records.append(
                    image(len(records), class_name, f"{source}:{class_name}{index}", source=source)
                )
    return records


RECORDS = st.lists(
    st.builds(
        lambda class_name, patient, split, source: (class_name, f"{source}:{patient}", split, source),
        st.sampled_from(["normal", "pneumonia", "covid"]),
        st.integers(0, 25),
        st.sampled_from([None, None, None, "training", "validation", "test"]),
        st.sampled_from(["a", "b"]),
    ),
    max_size=60,
).map(lambda rows: [image(i, c, p, split=s, source=o) for i, (c, p, s, o) in enumerate(rows)])


FRACTION = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9])


@settings(max_examples=150, deadline=None)
@given(
    RECORDS,
    FRACTION,
    FRACTION,
    st.integers(0, 5),
    st.sampled_from(["random", "first"]),
    st.randoms(use_true_random=False),
)
def test_every_record_once_no_patient_twice_whatever_the_order(records, validation, test, seed, order, rng):
    wishes = {
        "validation_fraction": validation,
        "test_fraction": test,
        "seed": seed,
        "validation_order": order,
    }
    splits = split_by_patient(records, **wishes)
    images = [record.image for part in PARTS for record in getattr(splits, part)]
    images += [left_out.image for left_out in splits.excluded]
    assert Counter(images) == Counter(record.image for record in records)
    in_parts = [patients(splits, part) for part in PARTS]
    assert sum(map(len, in_parts)) == len(set.union(*in_parts))
    for record in splits.training + splits.validation:
        assert record.split != "test"
    assert {r.image for r in records if r.split == "test"} <= {r.image for r in splits.test}

    shuffled = list(records)
    rng.shuffle(shuffled)
    assert split_by_patient(shuffled, **wishes) == splits


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["normal", "pneumonia", "covid"])),
        st.integers(1, 40),
        min_size=1,
    ),
    st.sampled_from([0.1, 0.15, 0.2, 0.3]),
    st.sampled_from([0.1, 0.2, 0.3]),
    st.integers(0, 10**6),
)
def test_fractions_by_class_and_no_class_missing(sizes, validation, test, seed):
    splits = split_by_patient(cohort(sizes), validation_fraction=validation, test_fraction=test, seed=seed)
    assert not splits.excluded
    for class_name in {name for _, name in sizes}:
        total = sum(count for (_, name), count in sizes.items() if name == class_name)
        counts = {
            part: len({r.patient for r in getattr(splits, part) if r.class_name == class_name})
            for part in PARTS
        }
        assert sum(counts.values()) == total
        if total >= 3:
            assert min(counts.values()) >= 1
            assert counts["test"] == pytest.approx(test * total, abs=1)
            assert counts["validation"] == pytest.approx(validation * (total - counts["test"]), abs=1)


def test_each_source_gives_its_share_of_test():
    records = cohort({("big", "covid"): 100, ("small", "covid"): 20, ("big", "normal"): 50})
    splits = split_by_patient(records, validation_fraction=0, test_fraction=0.2, seed=3)
    covid = Counter(patient.split(":")[0] for patient in patients(splits, "test") if "covid" in patient)
    assert covid == {"big": 20, "small": 4}
    assert not splits.validation


def test_seed_changes_the_draw_and_one_more_patient_hardly_does():
    records = cohort({("a", "covid"): 100, ("a", "normal"): 100})

    def test_part(records, seed):
        splits = split_by_patient(records, validation_fraction=0.1, test_fraction=0.2, seed=seed)
        return patients(splits, "test")

    assert test_part(records, 0) != test_part(records, 1)
    more = [*records, image(99999, "covid", "a:one more")]
    assert len(test_part(records, 0) ^ test_part(more, 0)) <= 2


def test_official_test_stays_and_the_patients_training_images_are_excluded_with_the_reason():
    records = [
        image(1, "covid", "p", split="test"),
        image(2, "covid", "p", split="training"),
        image(3, "covid", "p", source="b"),
        image(4, "normal", "q", split="training"),
    ]
    splits = split_by_patient(records, validation_fraction=0, test_fraction=0.5, seed=0)
    assert [r.image.name for r in splits.test] == ["00001.png", "00003.png"]
    assert [r.image.name for r in splits.training] == ["00004.png"]
    assert [(e.image.name, e.reason) for e in splits.excluded] == [
        ("00002.png", "training in its collection, but patient p is in a collection's test")
    ]


def test_a_source_with_validation_of_its_own_gives_no_more():
    own = [
        image(i, "covid", f"own{i}", split="validation" if i < 2 else "training", source="own")
        for i in range(20)
    ]
    other = [image(100 + i, "covid", f"other{i}", source="other") for i in range(20)]
    splits = split_by_patient(own + other, validation_fraction=0.25, test_fraction=0, seed=0)
    assert {p for p in patients(splits, "validation") if p.startswith("own")} == {"own0", "own1"}
    assert len(patients(splits, "validation")) == 2 + 5


def test_validation_of_the_first_numbers_in_every_source_and_class():
    records = cohort({("a", "covid"): 20, ("a", "normal"): 20, ("b", "normal"): 10})
    splits = split_by_patient(
        records, validation_fraction=0.2, test_fraction=0, seed=0, validation_order="first"
    )
    assert patients(splits, "validation") == {
        *(f"a:covid{i}" for i in range(4)),
        *(f"a:normal{i}" for i in range(4)),
        *(f"b:normal{i}" for i in range(2)),
    }


def test_unknown_validation_order_is_named():
    with pytest.raises(ValueError, match=r"Unknown validation order 'last'\. Choose one of: random, first"):
        split_by_patient([], validation_fraction=0, test_fraction=0, seed=0, validation_order="last")


@pytest.mark.parametrize("fractions", [(1.0, 0.2), (-0.1, 0.2), (0.1, 1.5)])
def test_fraction_out_of_range_is_named(fractions):
    with pytest.raises(ValueError, match="_fraction must be at least 0 and less than 1"):
        split_by_patient([], validation_fraction=fractions[0], test_fraction=fractions[1], seed=0)


def test_record_without_patient_is_named():
    with pytest.raises(ValueError, match=r"x\.png: no patient"):
        split_by_patient(
            [Record(Path("x.png"), "covid", "a")], validation_fraction=0, test_fraction=0, seed=0
        )
