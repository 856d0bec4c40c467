"""Splits by patient: what must hold for any collection."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covid_monai.core.effective_number import effective_number
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
        of_class = {part: [r for r in getattr(splits, part) if r.class_name == class_name] for part in PARTS}
        patients = {part: len({r.patient for r in records}) for part, records in of_class.items()}
        images = {part: len(records) for part, records in of_class.items()}
        if sum(patients.values()) < 3:
            continue
        assert min(patients.values()) >= 1
        for counts, most in ((patients, 2), (images, 3)):  # a patient has up to 3 images
            total = sum(counts.values())
            if sum(images.values()) < 60:  # a patient has more than 5 % of the images
                continue
            assert counts["test"] == pytest.approx(test * total, abs=most)
            assert counts["validation"] == pytest.approx(validation * (total - counts["test"]), abs=most)


def test_each_source_gives_its_share_of_test():
    records = cohort({("big", "covid"): 100, ("small", "covid"): 20, ("big", "normal"): 50})
    splits = split_by_patient(records, validation_fraction=0, test_fraction=0.2, seed=3)
    covid = Counter(patient.split(":")[0] for patient in patients(splits, "test") if "covid" in patient)
    assert covid == {"big": pytest.approx(20, abs=1), "small": pytest.approx(4, abs=1)}
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
    records = cohort({("a", "covid"): 60, ("a", "normal"): 60, ("b", "normal"): 30})
    splits = split_by_patient(
        records, validation_fraction=0.2, test_fraction=0, seed=0, validation_order="first"
    )
    assert patients(splits, "validation") == {
        *(f"a:covid{i}" for i in range(12)),
        *(f"a:normal{i}" for i in range(12)),
        *(f"b:normal{i}" for i in range(6)),
    }


def at_hospitals(sizes: dict[str, int], class_name: str = "covid", **facts) -> list[Record]:
    """Two images of each patient, `sizes` images of each hospital."""
    return [
        replace(image(n, class_name, f"{hospital}{n // 2}", source=class_name), hospital=hospital, **facts)
        for hospital, size in sizes.items()
        for n in range(size)
    ]


def hospitals(splits: Splits, part: str) -> Counter[str | None]:
    return Counter(record.hospital for record in getattr(splits, part))


def test_no_split_divides_a_hospital_and_a_large_one_goes_to_training():
    records = at_hospitals({"large": 100, **{f"h{n}": 4 + 2 * (n % 4) for n in range(60)}})
    for seed in range(5):
        splits = split_by_patient(records, validation_fraction=0.15, test_fraction=0.2, seed=seed)
        parts = {part: hospitals(splits, part) for part in PARTS}
        assert sum(len(names) for names in parts.values()) == 61
        assert parts["training"]["large"] == 100
        assert not splits.divided_hospitals
        assert sum(parts["test"].values()) == pytest.approx(0.2 * len(records), abs=8)
        assert sum(parts["validation"].values()) == pytest.approx(0.15 * 0.8 * len(records), abs=8)


def test_a_hospital_that_holds_most_of_a_class_is_divided_by_patient_and_named():
    records = at_hospitals({"one": 200, "two": 20}) + at_hospitals({"other": 100}, "normal")
    splits = split_by_patient(records, validation_fraction=0.15, test_fraction=0.2, seed=0)
    assert splits.divided_hospitals == ("one", "other")
    assert min(hospitals(splits, part)["one"] for part in PARTS) > 20
    assert len({part for part in PARTS if hospitals(splits, part)["two"]}) == 1
    in_parts = [patients(splits, part) for part in PARTS]
    assert sum(map(len, in_parts)) == len(set.union(*in_parts))


def test_a_hospital_follows_its_official_test_unless_the_official_parts_divide_it():
    records = at_hospitals({f"h{n}": 4 for n in range(40)})
    official = [replace(records[0], split="test"), *records[1:]]
    splits = split_by_patient(official, validation_fraction=0.1, test_fraction=0.1, seed=0)
    assert hospitals(splits, "test")["h0"] == 4
    divided = [replace(r, split="test" if n % 4 < 2 else "training") for n, r in enumerate(records)]
    splits = split_by_patient(divided, validation_fraction=0, test_fraction=0.1, seed=0)
    assert splits.divided_hospitals == tuple(sorted({str(r.hospital) for r in records}))
    assert (len(splits.training), len(splits.test), splits.excluded) == (80, 80, ())


def test_no_patient_decides_the_figures_of_a_split_alone():
    """One patient of 30 images among 300 others of 4: the effective number stays that of the many."""
    records = [image(n, "covid", f"many{n // 4}") for n in range(1200)]
    records += [image(2000 + n, "covid", f"few{n // 30}") for n in range(90)]
    for seed in range(8):
        splits = split_by_patient(records, validation_fraction=0.15, test_fraction=0.2, seed=seed)
        for part in ("validation", "test"):
            effective = effective_number(r.patient for r in getattr(splits, part))
            assert effective > 0.7 * len(patients(splits, part)) > 20


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
