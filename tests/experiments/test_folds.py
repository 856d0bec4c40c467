"""Folds never divide a patient or a group of duplicates, and test every image once."""

from itertools import chain

import numpy as np
import pytest
from experiment_helpers import image
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from covid_monai.datasets.grouping import connected_groups
from covid_monai.experiments.folds import make_folds

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


def test_folds_by_image_are_those_of_a_split_that_knows_no_patient():
    """Ten images of each patient: scikit-learn's plain splitter divides nearly all patients, too."""
    images = [image(i, label=i // 60, patient=str(i // 10), group=str(i // 10)) for i in range(120)]
    labels = np.array([each["label"] for each in images])
    folds = dict(make_folds(images, protocol="folds_by_image", folds=5, seed=0))
    plain = StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels)
    patients = np.array([each["patient"] for each in images])
    leaks = [len({*patients[rest]} & {*patients[test]}) / len({*patients[test]}) for rest, test in plain]
    tested: list[str] = []
    for fold, leak in zip(folds.values(), leaks, strict=True):
        rows = {split: [int(each["image"][-7:-4]) for each in part] for split, part in fold.items()}
        assert sorted(chain(*rows.values())) == [*range(120)]
        assert np.bincount(labels[rows["test"]]).tolist() == [12, 12]
        tested_patients = {*patients[rows["test"]]}
        assert leak == 1
        assert tested_patients <= {*patients[rows["training"] + rows["validation"]]}
        tested += rows["test"]
    assert sorted(tested) == [*range(120)]


def test_the_hospitals_of_a_source_left_out_leave_the_training_too():
    """One hospital is in two collections: left out with one of them, none of its images is trained on."""
    images = [image(i, label=i % 2) for i in range(60)]
    images = [
        {**each, "source": "ab"[i % 10 == 0], "hospital": f"h{i // 2}"} for i, each in enumerate(images)
    ] + [image(60 + i, label=i % 2, source="b") for i in range(20)]
    for _, fold in make_folds(images, protocol="leave_one_source_out", folds=3, seed=0):
        tested = {each.get("hospital") for each in fold["test"]} - {None}
        trained = [each for part in ("training", "validation") for each in fold[part]]
        assert trained
        assert not tested & {each.get("hospital") for each in trained}


@pytest.mark.parametrize("source", ["../../x", "/tmp/x", "..", "a\\b", "a\0b", "x" * 101])
def test_a_source_that_is_a_path_names_no_fold(source):
    images = [image(i, label=i % 2) for i in range(24)]
    images = [{**each, "source": source if i % 2 else "b"} for i, each in enumerate(images)]
    with pytest.raises(ValueError, match="cannot name a folder"):
        list(make_folds(images, protocol="leave_one_source_out", folds=3, seed=0))


def test_too_few_patients_for_the_folds_are_named():
    images = [image(i, label=int(i > 7)) for i in range(10)]
    with pytest.raises(ValueError, match="3 folds need as many patients in each class, but one class has 2"):
        list(make_folds(images, protocol="folds", folds=3, seed=0))
