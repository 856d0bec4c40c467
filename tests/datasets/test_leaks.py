"""Any datalist, read without refusing what an audit is there to show, and what is found in it."""

import json
from itertools import combinations

import pytest
from dataset_helpers import write_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from covid_monai.datasets.leaks import audit_datalist, find_label_conflicts, find_leaks, read_unchecked
from covid_monai.evaluation.report.audit_page import audit_verdict

IMAGES = st.sampled_from([f"{letter}.png" for letter in "abcdef"])
RECORD = st.fixed_dictionaries(
    {
        "image": IMAGES,
        "split": st.sampled_from(["training", "validation", "test"]),
        "class": st.sampled_from([None, "normal", "covid"]),
    },
    optional={"patient": st.sampled_from(["p", "q"])},
)
GROUPS = st.sampled_from([[], [["a.png", "b.png"]], [["a.png", "c.png", "d.png"], ["e.png", "f.png"]]])


def write(path, **content):
    path.write_text(json.dumps(content))
    return path


def test_our_own_and_other_peoples_datalists_are_read(tmp_path):
    listed = read_unchecked(
        write(
            tmp_path / "dataset.json",
            name="Task",
            labels=["normal", "covid"],
            training=[{"image": "a.png", "label": 1, "patient": "p"}, {"image": "b.png", "label": "odd"}],
            val=[{"image": "a.png", "label": 0, "patient": "p"}],
            testing=["c.png"],
            excluded=[{"image": "x.png", "reason": "blank"}],
        )
    )
    assert listed.root == tmp_path
    assert listed.class_names == ("normal", "covid")
    assert [(r["image"], r["split"], r["class"]) for r in listed.records] == [
        ("a.png", "training", "covid"),
        ("b.png", "training", "odd"),
        ("a.png", "validation", "normal"),
        ("c.png", "test", None),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"training": []}, "no records found.* under training"),
        ({"training": [{"image": ["a.nii", "b.nii"]}]}, r"training\[0\]: expected one image path"),
        ({"training": ["a.png"], "root": "gone"}, "the folder .*gone of the images.*--dataset-dir"),
    ],
)
def test_what_is_no_datalist_is_refused_by_name(tmp_path, content, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_unchecked(write(tmp_path / "list.json", **content))
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        read_unchecked(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *[(0, "0"), ("0", "0"), (0.0, "0"), (False, "False"), ("P", "P")],
        *[(None, None), ("", None), (" ", None), (float("nan"), None), ("None", None), ("ANONYMOUS", None)],
    ],
)
def test_a_patient_named_0_leaks_and_images_without_one_do_not(value, name):
    splits = ("training", "test")
    records = [{"image": f"{s}.png", "split": s, "class": None, "patient": value} for s in splits]
    assert [(leak["kind"], leak["name"]) for leak in find_leaks(records, [])] == [("patient", name)] * bool(
        name
    )


def test_a_recorded_group_named_0_is_one_and_null_is_none(tmp_path):
    for number, name in enumerate("abcd"):
        write_image(tmp_path / f"{name}.png", seed=number)
    groups = {"a": 0, "b": 0.0, "c": None, "d": None}
    records = [{"image": f"{name}.png", "label": 0, "group": group} for name, group in groups.items()]
    listed = write(tmp_path / "list.json", root=None, training=records[::2], test=records[1::2])
    report = audit_datalist(read_unchecked(listed))
    assert report["duplicate_groups"] == [["a.png", "b.png"]]
    assert report["counts"]["patients"] == 0


def test_a_hospital_in_two_splits_is_a_leak_unless_preparation_divided_it_on_purpose(tmp_path):
    for number in range(4):
        write_image(tmp_path / f"{number}.png", seed=number)
    records = [{"image": f"{n}.png", "label": 0, "hospital": "St Mary" if n < 2 else None} for n in range(4)]
    parts = {"root": None, "training": records[::2], "test": records[1::2]}
    report = audit_datalist(read_unchecked(write(tmp_path / "list.json", **parts)))
    assert [(leak["kind"], leak["name"]) for leak in report["leaks"]] == [("hospital", "St Mary")]
    divided = write(tmp_path / "list.json", **parts, divided_hospitals=["St Mary"])
    report = audit_datalist(read_unchecked(divided))
    assert (report["leaks"], report["divided_hospitals"]) == ([], ["St Mary"])
    sentences = audit_verdict({**report, "confounding": None})
    assert any("Divided by patient on purpose: 1 hospital (St Mary)." in each for each in sentences)


@settings(max_examples=150)
@given(st.lists(RECORD, max_size=12), GROUPS, st.randoms(use_true_random=False))
def test_a_leak_is_what_stands_in_two_splits_and_nothing_else(records, groups, rng):
    leaks = find_leaks(records, groups)
    for leak in leaks:
        assert len(leak["splits"]) > 1
        assert leak["splits"] == sorted({image["split"] for image in leak["paths"]})
        assert all(
            image in [{k: r[k] for k in ("image", "split")} for r in records] for image in leak["paths"]
        )
    reported = {(leak["kind"], leak["name"]) for leak in leaks}
    for one, other in combinations(records, 2):
        if one["split"] != other["split"]:
            expected = {("file", one["image"])} if one["image"] == other["image"] else set()
            expected |= {
                ("patient", one["patient"]) for p in [one.get("patient")] if p and p == other.get("patient")
            }
            expected |= {
                ("group", group[0]) for group in groups if {one["image"], other["image"]} <= set(group)
            }
            assert expected <= reported
    rng.shuffle(records)
    assert {(leak["kind"], leak["name"]) for leak in find_leaks(records, groups)} == reported


@given(st.lists(RECORD, max_size=12), GROUPS)
def test_a_conflict_is_one_image_with_two_classes(records, groups):
    of_image = {image: image for image in (r["image"] for r in records)}
    of_image |= {image: group[0] for group in groups for image in group}
    classes = {}
    for record in records:
        if record["class"]:
            classes.setdefault(of_image[record["image"]], set()).add(record["class"])
    conflicts = find_label_conflicts(records, groups)
    assert len(conflicts) == sum(len(names) > 1 for names in classes.values())
    for conflict in conflicts:
        found = {name for labels in conflict["labels"] for name in labels}
        assert found == classes[of_image[conflict["paths"][0]]]


@pytest.mark.real_data
def test_a_mirrored_image_in_the_test_split_is_a_leak(real_data, tmp_path):
    images = sorted((real_data / "chest_xray" / "test" / "NORMAL").glob("*.jpeg"))[:40:20]
    for number, path in enumerate(images):
        Image.open(path).save(tmp_path / f"{number}.png")
    ImageOps.mirror(Image.open(images[0])).resize((200, 260)).save(tmp_path / "again.jpg")
    datalist = write(
        tmp_path / "list.json",
        labels={"0": "normal", "1": "covid"},
        training=[{"image": "0.png", "label": 0}, {"image": "1.png", "label": 0}],
        test=[{"image": "again.jpg", "label": 1}, {"image": "gone.png", "label": 1}],
    )
    report = audit_datalist(read_unchecked(datalist))
    assert report["duplicate_groups"] == [["0.png", "again.jpg"]]
    assert [(leak["kind"], leak["splits"]) for leak in report["leaks"]] == [("group", ["test", "training"])]
    assert report["label_conflicts"] == [{"paths": ["0.png", "again.jpg"], "labels": [["normal"], ["covid"]]}]
    assert [file["image"] for file in report["unreadable"]] == ["gone.png"]
    assert report["pairs"][0]["mirrored"]
    assert not report["pairs"][0]["exact"]
    assert report["counts"]["compared"] == 3
    assert report["counts"]["leaks"] == 1
    assert json.loads(json.dumps(report)) == report


def test_a_recorded_group_counts_and_no_image_at_all_is_an_error(tmp_path):
    datalist = write(tmp_path / "list.json", training=[{"image": "a.png", "group": "g"}], test=["b.png"])
    with pytest.raises(FileNotFoundError, match="none of its 2 images"):
        audit_datalist(read_unchecked(datalist))
    for name in ("a", "b"):
        Image.new("L", (80, 80)).save(tmp_path / f"{name}.png")
    both = [{"image": "a.png", "group": "g"}], [{"image": "b.png", "group": "g"}]
    report = audit_datalist(read_unchecked(write(datalist, training=both[0], test=both[1])))
    assert report["duplicate_groups"] == [["a.png", "b.png"]]
    assert [leak["kind"] for leak in report["leaks"]] == ["group"]
