"""The datalist file: what is written loads with MONAI, what is malformed is named."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data import load_decathlon_datalist

from covid_monai.datasets.datalist import read_datalist, write_datalist


def item(image: str, label: int, patient: str, **more) -> dict:
    return {"image": image, "label": label, "patient": patient, "source": "folder", **more}


def test_a_test_is_external_only_if_no_hospital_and_no_collection_is_that_of_the_training(tmp_path):
    def datalist(**of_test):
        splits = {
            "training": [
                item("1.png", 0, "a", hospital="St Mary"),
                item("2.png", 1, "b", hospital="St Mary"),
            ],
            "validation": [{**item("3.png", 1, "c"), "source": "ieee8023"}],
            "test": [item("4.png", 0, "d") | of_test],
        }
        parts = {"class_names": ("normal", "covid"), "root": tmp_path, "sources": {}}
        return write_datalist(tmp_path / "list.json", splits=splits, **parts)

    salt = datalist().digest
    domains = datalist().domains("training", "validation", salt=salt)
    assert len(domains) == 2
    assert not any("mary" in domain.lower() for domain in domains)
    chosen_on = {"domains": domains, "datalist_digest": salt}
    assert datalist(hospital="Other").is_external_to(chosen_on)
    assert datalist(hospital="Other", source="covid-cxnet").is_external_to(chosen_on)
    assert not datalist(hospital="ST MARY", source="covid-cxnet").is_external_to(chosen_on)
    assert not datalist(hospital="Other", source="ieee8023").is_external_to(chosen_on)
    assert datalist().is_external_to({"datalist_digest": salt}) is None


SPLITS = {
    "training": [item("a/1.png", 0, "p1", view="PA", sex="F", age=61.0), item("b/2.png", 1, "p2")],
    "validation": [item("a/3.png", 0, "p3")],
    "test": [item("b/4.png", 1, "p4")],
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for records in SPLITS.values():
        for record in records:
            (root / record["image"]).parent.mkdir(parents=True, exist_ok=True)
            (root / record["image"]).touch()
    return root


@pytest.fixture
def path(tmp_path: Path, images: Path) -> Path:
    path = tmp_path / "lists" / "datalist.json"
    write_datalist(
        path,
        class_names=("normal", "covid"),
        splits=SPLITS,
        root=images,
        sources={"folder": {"licence": "own"}},
    )
    return path


def test_written_list_reads_back_and_loads_with_monai(path, images):
    datalist = read_datalist(path)
    assert datalist.class_names == ("normal", "covid")
    assert datalist.root == images
    assert datalist.counts()["training"] == {"normal": 1, "covid": 1}
    assert datalist.counts()["test"] == {"normal": 0, "covid": 1}
    for split, records in SPLITS.items():
        assert list(datalist.splits[split]) == records
        by_monai = load_decathlon_datalist(
            str(path), is_segmentation=False, data_list_key=split, base_dir=str(images)
        )
        assert by_monai == datalist.records(split)
    assert json.loads(path.read_text())["numTraining"] == 2


def test_dataset_dir_replaces_the_root(path, images, tmp_path):
    moved = images.rename(tmp_path / "moved")
    datalist = read_datalist(path)
    with pytest.raises(
        FileNotFoundError, match=r"folder .*images of the images does not exist\..*--dataset_dir"
    ):
        datalist.records("training")
    assert datalist.records("training", moved)[0]["image"] == str(moved / "a/1.png")
    (moved / "b/2.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 2 training images missing, the first is .*2\.png\. .*--dataset_dir"
    ):
        datalist.records("training", moved)


def test_without_root_paths_start_at_the_file_and_each_image_is_a_patient(images):
    foreign = {
        "labels": {"0": "no", "1": "yes"},
        "training": [{"image": "a/1.png", "label": 0}, {"image": "b/2.png", "label": 1}],
    }
    path = images / "dataset.json"
    path.write_text(json.dumps(foreign))
    datalist = read_datalist(path)
    assert [record["patient"] for record in datalist.splits["training"]] == ["a/1.png", "b/2.png"]
    assert datalist.records("training")[1]["image"] == str(images / "b/2.png")


def test_empty_or_unknown_split_names_the_file_and_the_way_out(path):
    content = json.loads(path.read_text())
    content["test"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"datalist\.json: the split test has no records\. .*data prepare.*--test-fraction"
    ):
        read_datalist(path).records("test")
    with pytest.raises(ValueError, match="Unknown split 'train'"):
        read_datalist(path).records("train")


def test_digest_follows_the_data_and_not_its_order_or_place(path, tmp_path):
    digest = read_datalist(path).digest
    content = json.loads(path.read_text())

    def digest_of(content):
        other = tmp_path / "other.json"
        other.write_text(json.dumps(content))
        return read_datalist(other).digest

    assert digest_of({**content, "root": "/elsewhere", "training": content["training"][::-1]}) == digest
    assert digest_of({**content, "labels": {"0": "normal", "1": "pneumonia"}}) != digest
    changed = copy.deepcopy(content)
    changed["training"][0]["label"] = 1
    assert digest_of(changed) != digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "expected labels like"),
        ({"labels": {"0": "normal", "2": "covid"}}, "expected labels like"),
        ({"labels": {"0": "covid", "1": "covid"}}, "labels: the class name 'covid' occurs twice"),
        ({"labels": {"0": "le\u0301gère", "1": "légère"}}, "occurs twice. Rename it in the datalist."),
        ({"labels": {"0": "covid"}}, "at least two labels"),
        ({"labels": {"0": "normal", "1": "$open('x','w')"}}, "labels: the class name .* contains '\\$'"),
        ({"labels": {"0": "normal", "1": None}}, "labels: the class name None is not text"),
        ({"training": {}}, "training is not a list"),
        ({"excluded": 5}, "excluded is not a list of records"),
        ({"label_conflicts": ["x.png"]}, "label_conflicts is not a list of records"),
        ({"sources": {"\ud800": {}}}, "not a JSON file"),
        ({"training": [{"image": "x.png"}]}, r"training\[0\]: expected image and label"),
        ({"training": [item("x.png", 2, "p")]}, "label 2 of x.png is not one of 0 to 1"),
        ({"training": [{"image": "x.png", "label": "covid"}]}, "label 'covid' of x.png"),
        ({"training": [{"image": ["x.png"], "label": 1}]}, "is not one path"),
        ({"training": [item("x.png", 1, "p4")]}, "patient p4 is in training and in test"),
        ({"training": [item("x.png", 1, "p"), item("x.png", 0, "p")]}, "x.png has the labels 1 and 0"),
        ({"training": [], "validation": [], "test": []}, "no records found"),
    ],
)
def test_malformed_lists_are_named(path, change, message):
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message) as caught:
        read_datalist(path)
    assert str(path) in str(caught.value)


DEEP = pytest.param(b"[" * 10**5, id="deep")


@pytest.mark.parametrize("content", [b"", b"not json", b"[1, 2]", b"\xff\xfe", DEEP])
def test_other_files_are_named(tmp_path, content):
    (tmp_path / "list.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"list\.json: (not a JSON file|expected an object)"):
        read_datalist(tmp_path / "list.json")


def test_a_byte_order_mark_changes_nothing(path):
    plain = read_datalist(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_datalist(path) == plain


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json does not exist\. Make one with"):
        read_datalist(tmp_path / "nowhere.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["image", "label", "0", "1"]), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["labels", "training", "validation", "test", "root"]), JSON))
def test_any_json_reads_or_is_named(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("lists") / "any.json"
    path.write_text(json.dumps(content))
    try:
        datalist = read_datalist(path)
    except ValueError as error:
        message = str(error)
    else:
        assert len(datalist.class_names) >= 2
        assert any(datalist.splits.values())
        return
    assert str(path) in message


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path):
    before = path.read_bytes()
    bad = {**SPLITS, "test": [item("b/4.png", 1, "p1")]}
    with pytest.raises(ValueError, match="patient p1 is in training and in test"):
        write_datalist(path, class_names=("normal", "covid"), splits=bad, root=path.parent, sources={})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["datalist.json"]


@pytest.mark.parametrize(
    ("patient", "name"),
    [
        *[(0, "0"), ("0", "0"), (0.0, "0"), (False, "False"), (7.0, "7"), (" P 1 ", "P 1"), ("00", "00")],
        *[(None, None), ("", None), (" ", None), (float("nan"), None), ("nan", None), ("None", None)],
        *[("NA", None), ("unknown", None), ("ANONYMOUS", None)],
    ],
)
def test_a_patient_that_counts_as_false_is_one_and_a_word_for_none_is_not(images, patient, name):
    records = [{**item(f"a/{n}.png", n % 2, patient), "group": None} for n in range(1, 4)]
    path = images / "list.json"
    path.write_text(json.dumps({"labels": {"0": "no", "1": "yes"}, "root": None, "training": records}))
    found = [record["patient"] for record in read_datalist(path).splits["training"]]
    assert found == ([name] * 3 if name else ["a/1.png", "a/2.png", "a/3.png"])
    # A patient in two splits is a leak; images without one, and images without a group, are not.
    split = {"labels": {"0": "no", "1": "yes"}, "training": records[:1], "test": records[1:]}
    path.write_text(json.dumps({**split, "excluded": None, "sources": None, "label_conflicts": None}))
    if name:
        with pytest.raises(ValueError, match=f"patient {name} is in training and in test"):
            read_datalist(path)
    else:
        assert len(read_datalist(path).splits["test"]) == 2


@pytest.mark.parametrize(
    ("group", "name"), [(0, "0"), ("g", "g"), (None, None), ("", None), (float("nan"), None)]
)
def test_a_group_named_0_is_one_and_null_is_none(images, group, name):
    one, other = ({**item(f"a/{n}.png", n, f"p{n}"), "group": group} for n in (0, 1))
    path = images / "list.json"
    path.write_text(json.dumps({"labels": {"0": "no", "1": "yes"}, "training": [one], "test": [other]}))
    if name:
        with pytest.raises(ValueError, match=f"group {name} is in training and in test"):
            read_datalist(path)
    else:
        assert len(read_datalist(path).splits["test"]) == 1


def test_whole_numbers_are_one_patient_whether_or_not_a_program_made_them_floats(images):
    path = images / "list.json"
    records = {"training": [item("a/1.png", 0, 12)], "test": [item("b/2.png", 1, 12.0)]}
    path.write_text(json.dumps({"labels": {"0": "no", "1": "yes"}, **records}))
    with pytest.raises(ValueError, match="patient 12 is in training and in test"):
        read_datalist(path)
