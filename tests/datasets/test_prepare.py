"""From folders to a datalist: every file opened, everything accounted for, nothing half done."""

import _thread
import csv
import json
import re
import signal
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dataset_helpers import write_copies, write_image
from dicom_helpers import make_ds, save
from PIL import Image
from pydicom.data import get_testdata_file

from covid_monai.core.effective_number import effective_number
from covid_monai.datasets.collections import SOURCES
from covid_monai.datasets.collections.base import Excluded, Record, to_class_name
from covid_monai.datasets.datalist import SPLITS, read_datalist
from covid_monai.datasets.prepare import parse_sources, prepare
from covid_monai.datasets.selection import parse_classes


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "own"
    for number, name in enumerate(("normal", "covid", "pneumonia")):
        for index in range(6):
            write_image(root / name / f"{index}.png", seed=10 * number + index)
    (root / "covid" / "broken.png").write_bytes((root / "covid" / "0.png").read_bytes()[:200])
    (root / "covid" / "page.webp").write_text("<html>not found</html>")
    return root


def images(datalist) -> list[str]:
    return [record["image"] for split in SPLITS for record in datalist.splits[split]]


def test_unreadable_files_are_listed_with_the_reason_and_all_others_kept(folder, tmp_path):
    output = tmp_path / "list.json"
    datalist = prepare([("folder", folder)], output=output, seed=1)
    assert datalist == read_datalist(output)
    assert datalist.class_names == ("normal", "pneumonia", "covid")
    assert Counter(images(datalist)) == Counter(
        f"{name}/{index}.png" for name in ("normal", "covid", "pneumonia") for index in range(6)
    )
    reasons = {item["image"]: item["reason"] for item in datalist.excluded}
    assert set(reasons) == {"covid/broken.png", "covid/page.webp"}
    assert all(reason.startswith("unreadable: ") for reason in reasons.values())
    assert not [
        image for image, reason in reasons.items() if Path(image).name in reason
    ]  # it stands beside it
    assert datalist.sources == {
        "folder": {"roots": [str(folder)], "images": 18, "licence": SOURCES["folder"].licence}
    }
    assert all(min(counts.values()) >= 1 for counts in datalist.counts().values())
    assert all(Path(record["image"]).is_file() for record in datalist.records("training"))


def test_same_seed_same_digest_and_another_seed_another(folder, tmp_path):
    digests = [
        prepare([("folder", folder)], output=tmp_path / "l.json", seed=seed).digest for seed in (7, 7, 8)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_classes_are_restricted_merged_and_ordered(folder, tmp_path):
    two = prepare([("folder", folder)], output=tmp_path / "two.json", classes=parse_classes("covid,normal"))
    assert two.class_names == ("covid", "normal")
    assert Counter(item["reason"] for item in two.excluded)["class pneumonia was not asked for"] == 6
    merged = prepare(
        [("folder", folder)],
        output=tmp_path / "m.json",
        classes=parse_classes("normal,abnormal=covid+pneumonia"),
    )
    assert merged.class_names == ("normal", "abnormal")
    assert sum(counts["abnormal"] for counts in merged.counts().values()) == 12


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("normal,tuberculosis", "Unknown class 'tuberculosis'. Choose one of: covid, normal"),
        ("normal", "Found only class normal"),
    ],
)
def test_absent_classes_are_named_and_nothing_is_written(folder, tmp_path, classes, message):
    with pytest.raises(ValueError, match=message):
        prepare([("folder", folder)], output=tmp_path / "list.json", classes=parse_classes(classes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (write_image, r"contradicting labels: covid, normal"),
        (lambda path, _: path.write_text("<html>not found</html>"), "unreadable"),
    ],
)
def test_a_class_that_loses_all_its_images_is_an_error_that_says_why(tmp_path, make, reason):
    root = tmp_path / "images"
    for index in range(3):
        write_image(root / "covid" / f"{index}.png", seed=index)
        write_image(root / "pneumonia" / f"{index}.png", seed=100 + index)
        make(write_image(root / "normal" / f"{index}.png"), index)
    with pytest.raises(
        ValueError, match=rf"No image of class \w+ .*all 3 images are left out.*0.png \(.*{reason}"
    ):
        prepare([("folder", root)], output=tmp_path / "list.json")
    assert not (tmp_path / "list.json").exists()
    assert prepare(
        [("folder", root)], output=tmp_path / "list.json", classes=parse_classes("pneumonia,covid")
    ).class_names == ("pneumonia", "covid")


def test_wrong_wishes_fail_before_any_file_is_opened(folder, tmp_path, monkeypatch):
    monkeypatch.delattr("covid_monai.datasets.prepare.open_image")
    unknown = {"classes": parse_classes("normal,tuberculosis")}
    for wish in ({"test_fraction": 20}, unknown, {"label_conflicts": "kep"}):
        with pytest.raises(
            ValueError,
            match=r"test_fraction must be .* it is 20|Unknown class .*tuberculosis|Unknown treat.*kep",
        ):
            prepare([("folder", folder)], output=tmp_path / "list.json", **wish)


def test_a_file_that_comes_twice_counts_once(folder, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(
        f"image,label\n{folder}/covid/0.png,Covid-19\n{write_image(tmp_path / 'x.png', 9)},normal\n"
    )
    datalist = prepare([("folder", folder), ("csv", table)], output=tmp_path / "list.json")
    assert len(images(datalist)) == len(set(images(datalist))) == 19
    name = (folder / "covid/0.png").relative_to(datalist.root).as_posix()
    assert [item["image"] for item in datalist.excluded if "listed before" in item["reason"]] == [name]
    assert not datalist.label_conflicts


def table_with(tmp_path, *lines, seed=0):
    """Twelve images of covid and normal in turn, and further lines of their table."""
    rows = []
    for index in range(12):
        write_image(tmp_path / f"{index}.png", seed=seed + index)
        rows.append(f"{index}.png,{'normal' if index % 2 else 'covid'},p{index}")
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,patient", *rows, *lines]) + "\n")
    return [("csv", tmp_path)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "0.png,normal,p0",
        "./0.png,Normal ,p0",
        "../{0}/0.png,normal,p0",
        "{1}/0.png,normal,",
        "link.png,normal,p0",
        "hard.png,normal,p0",
        "folder/0.png,normal,p0",
        ".\\0.png,normal,p0",
        "%30.png,normal,p0",
        "0.png,1,p0",
    ],
)
@pytest.mark.parametrize("check_duplicates", [True, False])
def test_a_file_listed_with_two_labels_is_left_out_and_named(tmp_path, line, check_duplicates):
    sources = table_with(tmp_path, line.format(tmp_path.name, tmp_path))
    (tmp_path / "link.png").symlink_to("0.png")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "0.png")
    (tmp_path / "folder").symlink_to(".")
    wish = {"output": tmp_path / "list.json", "check_duplicates": check_duplicates}
    classes = parse_classes("covid,normal") if "1,p0" in line else None
    datalist = prepare(sources, classes=classes, **wish)
    other = "1" if "1,p0" in line else "normal"
    assert Counter(images(datalist)) == Counter(f"{index}.png" for index in range(1, 12))
    (conflict,) = datalist.label_conflicts
    assert [(each["class"], each["source"]) for each in conflict["images"]] == [
        ("covid", "csv"),
        (other, "csv"),
    ]
    reasons = [item["reason"] for item in datalist.excluded if item["image"].endswith("0.png")]
    assert f"contradicting labels: {', '.join(sorted(('covid', other)))}" in reasons
    assert len(images(prepare(sources, label_conflicts="keep", **wish))) == 12
    with pytest.raises(ValueError, match=r"1 image has contradicting labels.*0\.png \(covid\)"):
        prepare(sources, label_conflicts="error", **wish)


def test_where_every_image_has_two_labels_the_error_says_so(tmp_path):
    lines = [f"{index}.png,{'covid' if index % 2 else 'normal'},p{index}" for index in range(12)]
    with pytest.raises(ValueError, match=r"No image of class covid .*all 6 images.*contradicting labels"):
        prepare(table_with(tmp_path, *lines), output=tmp_path / "list.json")
    single = [f"{index}.png,normal,p" for index in range(0, 12, 2)]
    text = "\n".join(["image,label,patient", *[s.replace("normal", "covid") for s in single], *single])
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=r"No image of class covid .*all 6 images.*contradicting labels"):
        prepare([("csv", tmp_path)], output=tmp_path / "list.json")


def test_a_dicom_folder_is_treated_as_a_table_of_images(tmp_path):
    folder, lines = tmp_path / "dicom", ["AccessionNumber,label"]
    for index in range(6):
        ds = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
        ds.Modality, ds.SOPClassUID, ds.BodyPartExamined = "DX", "1.2.840.10008.5.1.4.1.1.1.1", "CHEST"
        ds.file_meta.MediaStorageSOPClassUID, ds.AccessionNumber = ds.SOPClassUID, f"A{index // 2}"
        ds.PatientID = str(index)
        noise = np.random.default_rng(index).integers(0, 1000, (96, 96), dtype=np.uint16)
        ds.Rows = ds.Columns = 256
        ds.PixelData = np.kron(noise, np.ones((3, 3), np.uint16))[:256, :256].tobytes()
        folder.mkdir(exist_ok=True)
        ds.save_as(folder / f"{index}.dcm")
    lines += ["A0,covid", "A1,normal", "A2,covid", "A2,Normal", "A1,normal "]
    (folder / "labels.csv").write_text("\n".join(lines))
    datalist = prepare([("dicom-folder", folder)], output=tmp_path / "list.json")
    assert sorted(images(datalist)) == [f"{index}.dcm" for index in range(4)]
    assert [conflict["group"] for conflict in datalist.label_conflicts] == ["4.dcm", "5.dcm"]
    assert Counter(item["reason"] for item in datalist.excluded) == {
        "contradicting labels: covid, normal": 2,
        "the same file is listed before": 2,
    }


@pytest.mark.parametrize("line", ["0.png,COVID-19 ,p0", "./0.png,covid,", "11.png,normal,p11"])
def test_a_file_listed_twice_with_one_label_counts_once(tmp_path, line):
    datalist = prepare(table_with(tmp_path, line), output=tmp_path / "list.json", label_conflicts="error")
    assert Counter(images(datalist)) == Counter(f"{index}.png" for index in range(12))
    assert [item["reason"] for item in datalist.excluded] == ["the same file is listed before"]


@pytest.mark.parametrize("first", [0, 1])
def test_the_order_of_contradicting_lines_does_not_matter(tmp_path, first):
    table_with(tmp_path)
    lines = ["x.png,tuberculosis,p9", "x.png,covid,p9", "y.png,tuberculosis,p9"]
    write_image(tmp_path / "x.png", seed=99)
    write_image(tmp_path / "y.png", seed=98)
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text + "\n".join([lines[first], lines[1 - first], lines[2]]))
    wish = {"output": tmp_path / "list.json", "check_duplicates": False}
    some = prepare([("csv", tmp_path)], classes=parse_classes("normal,covid"), **wish)
    assert "x.png" not in images(some)
    assert len(some.label_conflicts) == 1
    merged = prepare([("csv", tmp_path)], classes=parse_classes("normal,ill=covid+tuberculosis"), **wish)
    assert "x.png" in images(merged)  # both lines say ill
    assert not merged.label_conflicts


def test_the_patient_of_any_line_counts_and_0_is_one(tmp_path):
    lines = [
        "a.png,covid,",
        "a.png,covid,0",
        "b.png,normal,0",
        "c.png,normal,ANONYMOUS",
        "d.png,covid,ANONYMOUS",
    ]
    for number, name in enumerate("abcd"):
        write_image(tmp_path / f"{name}.png", seed=50 + number)
    datalist = prepare(table_with(tmp_path, *lines), output=tmp_path / "list.json", check_duplicates=False)
    patients = {r["image"]: r["patient"] for split in SPLITS for r in datalist.splits[split]}
    assert patients["a.png"] == patients["b.png"] == "csv:0"
    assert (patients["c.png"], patients["d.png"]) == ("csv:c.png", "csv:d.png")


@pytest.mark.parametrize(
    ("patient_id", "expected"), [("0", "csv:0"), ("", None), ("ANONYMOUS", None), ("  ", None)]
)
def test_a_dicom_header_without_an_identifier_makes_no_common_patient(tmp_path, patient_id, expected):
    records = []
    for index in range(2):
        ds = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
        ds.Modality, ds.SOPClassUID, ds.BodyPartExamined = "DX", "1.2.840.10008.5.1.4.1.1.1.1", "CHEST"
        ds.file_meta.MediaStorageSOPClassUID, ds.PatientID = ds.SOPClassUID, patient_id
        noise = np.random.default_rng(index).integers(0, 1000, (96, 96), dtype=np.uint16)
        ds.Rows = ds.Columns = 256
        ds.PixelData = np.kron(noise, np.ones((3, 3), np.uint16))[:256, :256].tobytes()
        ds.save_as(tmp_path / f"{index}.dcm")
        records.append(f"{index}.dcm,{'covid' if index else 'normal'}")
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *records]))
    datalist = prepare([("csv", tmp_path)], output=tmp_path / "list.json", check_duplicates=False)
    patients = [r["patient"] for split in SPLITS for r in datalist.splits[split]]
    assert sorted(patients) == ([expected] * 2 if expected else ["csv:0.dcm", "csv:1.dcm"])


def test_images_of_one_patient_alone_are_told_from_a_fraction_that_is_too_small(tmp_path):
    sources = table_with(tmp_path)
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(re.sub(r",p\d+$", ",P1", text, flags=re.MULTILINE))
    datalist = prepare(sources, output=tmp_path / "list.json", check_duplicates=False)
    with pytest.raises(ValueError, match=r"All 12 images are of one patient.*Add images of other patients"):
        datalist.records("validation")
    two = prepare(table_with(tmp_path), output=tmp_path / "two.json", test_fraction=0, check_duplicates=False)
    with pytest.raises(ValueError, match="with a larger --test-fraction"):
        two.records("test")


def test_an_earlier_line_hides_no_error_of_the_table(tmp_path):
    sources = table_with(tmp_path, "\0.png,covid,p1")
    with pytest.raises(ValueError, match=r"labels\.csv, line 14: the table has a NUL byte"):
        prepare(sources, output=tmp_path / "list.json")
    assert not (tmp_path / "list.json").exists()


def test_copies_with_two_labels_are_left_out_across_collections(tmp_path):
    write_copies(tmp_path / "folder")
    sources = [("folder", tmp_path / "folder"), *table_with(tmp_path / "table", "c.jpg,normal,c", seed=100)]
    with Image.open(tmp_path / "folder/covid/covid5.png") as image:
        image.resize((220, 220)).save(tmp_path / "table/c.jpg", quality=70)
    datalist = prepare(sources, output=tmp_path / "list.json")
    assert [len(conflict["images"]) for conflict in datalist.label_conflicts] == [3, 3, 3, 2]
    assert {each["source"] for each in datalist.label_conflicts[-1]["images"]} == {"folder", "csv"}
    named = {each["image"] for conflict in datalist.label_conflicts for each in conflict["images"]}
    assert not named & set(images(datalist))
    assert named == {i["image"] for i in datalist.excluded if i["reason"].startswith("contradicting")}


def test_views_are_filtered_and_dicom_headers_fill_in_what_the_source_lacks(tmp_path):
    lines = ["image,label,view"]
    for index, view in enumerate(["PA", "LL", "AP SUPINE", ""]):
        ds = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
        ds.Modality, ds.SOPClassUID, ds.BodyPartExamined = "DX", "1.2.840.10008.5.1.4.1.1.1.1", "CHEST"
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.PatientID, ds.PatientSex, ds.PatientAge, ds.ViewPosition = f"P{index}", "F", "041Y", view
        noise = np.random.default_rng(index).integers(0, 1000, (96, 96), dtype=np.uint16)
        ds.Rows = ds.Columns = 256
        ds.PixelData = np.kron(noise, np.ones((3, 3), np.uint16))[:256, :256].tobytes()
        ds.save_as(tmp_path / f"{index}.dcm")
        lines.append(f"{index}.dcm,{'covid' if index % 2 else 'normal'},{'L' if index == 3 else ''}")
    lines.append(f"{write_image(tmp_path / 'plain.png').name},covid,")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    datalist = prepare([("csv", tmp_path)], output=tmp_path / "list.json")
    records = {record["image"]: record for split in SPLITS for record in datalist.splits[split]}
    assert records["0.dcm"] == {
        "image": "0.dcm",
        "label": 0,
        "patient": "csv:P0",
        "source": "csv",
        "view": "PA",
        "sex": "F",
        "age": 41.0,
        "hospital": "TOSHIBA",
    }
    assert records["plain.png"]["patient"] == "csv:plain.png"
    assert {item["image"]: item["reason"] for item in datalist.excluded} == {
        "1.dcm": "not_frontal: ViewPosition names LL; a frontal view (PA or AP) was expected.",
        "3.dcm": "not_frontal: the table names the view L",
    }
    with pytest.raises(
        ValueError,
        match=r"No image of class covid .*all 3 images are left out.*1\.dcm \(not_frontal: View",
    ):
        prepare([("csv", tmp_path)], output=tmp_path / "pa.json", views=["pa"])


@pytest.mark.parametrize("view", ["L", "lateral", "LL"])
def test_views_that_predict_refuses_cannot_be_asked_for(folder, tmp_path, view):
    with pytest.raises(ValueError, match=f"View {view} is not frontal"):
        prepare([("folder", folder)], output=tmp_path / "list.json", views=["PA", view])
    assert not list(tmp_path.iterdir())


def test_interruption_stops_soon_and_leaves_no_file(folder, tmp_path, monkeypatch):
    opened = []
    # A shell that starts the tests in the background has them ignore the signal.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)

    def slow(record: Record) -> Record | Excluded:
        opened.append(record)
        if len(opened) == 3:
            _thread.interrupt_main()  # what Ctrl-C does
        time.sleep(0.02)
        return record

    monkeypatch.setattr("covid_monai.datasets.prepare.open_image", slow)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    (tmp_path / "list.json").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        prepare([("folder", folder)], output=tmp_path / "list.json")
    signal.signal(signal.SIGINT, earlier)
    assert [path.name for path in tmp_path.iterdir()] == ["list.json"]
    assert (tmp_path / "list.json").read_text() == "before"
    assert len(opened) < 10


def test_copies_go_and_an_image_stays_on_one_side_of_the_split(tmp_path):
    copies = write_copies(tmp_path / "copies")
    part = {"validation_fraction": 0.3, "test_fraction": 0.3}
    datalist = prepare([("folder", copies)], output=tmp_path / "list.json", label_conflicts="keep", **part)
    records = {r["image"]: (split, r) for split in SPLITS for r in datalist.splits[split]}
    assert {item["image"]: item["reason"] for item in datalist.excluded} == {
        f"covid/z{index}.png": f"same pixels as covid/covid{index}.png" for index in range(3)
    }
    for index in range(3):
        split, record = records[f"covid/covid{index}.png"]
        other_split, other = records[f"normal/small{index}.jpg"]
        assert split == other_split
        assert record["group"] == other["group"] == f"covid/covid{index}.png"
        assert record["patient"] == other["patient"]
    assert sum("group" in record for _, record in records.values()) == 6
    assert [len(conflict["images"]) for conflict in datalist.label_conflicts] == [3, 3, 3]

    unchecked = prepare([("folder", copies)], output=tmp_path / "all.json", check_duplicates=False, **part)
    assert len(images(unchecked)) == 18
    assert not unchecked.excluded
    assert not unchecked.label_conflicts


@pytest.mark.slow
@pytest.mark.real_data
def test_real_collections_merge_and_shared_images_stay_on_one_side(real_data, tmp_path, monkeypatch):
    """Files are not opened here: their content has its own tests, and the fixture's time is better spent."""
    monkeypatch.setattr("covid_monai.datasets.prepare.open_image", lambda record: record)
    tokens = ["ieee8023", "covid-chestxray-dataset", "darkcovidnet", "darkcovidnet", "kermany", "chest_xray"]
    sources = [(name, real_data / root) for name, root in parse_sources(tokens)]
    datalist = prepare(sources, output=tmp_path / "list.json", check_duplicates=False)
    kermany = [r for r in datalist.splits["test"] if r["source"] == "kermany"]
    assert len(kermany) == 624
    split_of: dict[str, set] = {}
    for split in SPLITS:
        for record in datalist.splits[split]:
            if record["source"] in ("ieee8023", "darkcovidnet") and record["label"] == 2:
                split_of.setdefault(Path(record["image"]).stem.lower(), set()).add(split)
    assert all(len(splits) == 1 for splits in split_of.values())
    content = json.loads((tmp_path / "list.json").read_text())
    assert content["root"] == str(real_data)
    assert content["numTest"] == len(datalist.splits["test"])


@pytest.mark.slow
@pytest.mark.real_data
def test_no_patient_and_no_hospital_decides_a_split_of_the_merged_collections(
    real_data, tmp_path, monkeypatch
):
    """Copies without a patient once chained 133 of 220 validation images to one pseudo-patient."""
    monkeypatch.setattr("covid_monai.datasets.prepare.open_image", lambda record: record)
    folders = ("covid-chestxray-dataset", "covid-cxnet", "darkcovidnet")
    sources = [
        (name, real_data / root) for name, root in zip(("ieee8023", *folders[1:]), folders, strict=True)
    ]
    wishes = {"classes": {"normal": "normal", "covid": "covid"}, "output": tmp_path / "list.json"}
    datalist = prepare(sources, **wishes)
    covid = {split: [r for r in datalist.splits[split] if r["label"] == 1] for split in SPLITS}
    total = sum(map(len, covid.values()))
    for split in ("validation", "test"):
        for key in ("patient", "hospital"):
            largest = max(Counter(r.get(key) for r in covid[split] if r.get(key)).values())
            assert largest <= 0.05 * total
        assert effective_number(r["patient"] for r in covid[split]) > 20
    assert len(covid["test"]) == pytest.approx(0.2 * total, rel=0.1)
    where = {key: defaultdict(set) for key in ("patient", "hospital")}
    for split in SPLITS:
        for record in datalist.splits[split]:
            for key in where:
                where[key][record.get(key)].add(split)
    assert all(len(splits) == 1 for each in where.values() for name, splits in each.items() if name)
    assert where["hospital"]["Hannover Medical School, Hannover, Germany"] == {"training"}


@pytest.mark.real_data
def test_real_files_that_are_no_chest_images_are_refused_by_name(real_data, tmp_path):
    names = ["RG1_J2KI.dcm", "HTJ2K_08_RGB.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm"]
    rows = [f"{real_data}/dicom/{name},covid" for name in names]
    rows += [f"{write_image(tmp_path / f'{i}.png', i)},normal" for i in range(3)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *rows]))
    datalist = prepare([("csv", tmp_path)], output=tmp_path / "list.json")
    assert sum(name.endswith("RG1_J2KI.dcm") for name in images(datalist)) == 1
    assert {Path(item["image"]).name for item in datalist.excluded} == set(names[1:])


@pytest.mark.parametrize("source", ["folder", "csv", "dicom-folder"])
@pytest.mark.parametrize(
    "name", ["$open('x','w')", "%x.yaml", "@data", "a#b", "<b>", "\u202ecovid", "x" * 65]
)
def test_a_class_that_is_no_name_is_refused_with_its_image_and_can_be_renamed(tmp_path, source, name):
    key, suffix = {"folder": ("", "png"), "csv": ("image", "png"), "dicom-folder": ("path", "dcm")}[source]
    classes = [("normal", name)[number % 2] for number in range(6)]
    images = [f"{label if source == 'folder' else 'all'}/{n}.{suffix}" for n, label in enumerate(classes)]
    for number, image in enumerate(images):
        picture = write_image((tmp_path / "root" / image).with_suffix(".png"), seed=number)
        if suffix == "dcm":
            save(make_ds(np.asarray(Image.open(picture))), tmp_path / "root" / image)
            picture.unlink()
    with (tmp_path / "root" / "labels.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([[key, "label"], *zip(images, classes, strict=True)])
    sources, output = [(source, tmp_path / "root")], tmp_path / "datalist.json"
    advice = "Rename the class in its table or folder, or with --classes NEW=OLD."
    with pytest.raises(ValueError, match=rf"1.{suffix} .source {source}.: the class name .*{advice}"):
        prepare(sources, output=output)
    assert not output.exists()
    renamed = {"normal": "normal", to_class_name(name): "other"}
    assert prepare(sources, output=output, classes=renamed).class_names == ("normal", "other")


def test_source_words_on_the_command_line():
    assert parse_sources(["kermany", "kermany", "folder", "b", "./csv", "csv", "c"]) == [
        ("kermany", Path("kermany")),
        ("folder", Path("b")),
        ("folder", Path("csv")),
        ("csv", Path("c")),
    ]
    with pytest.raises(
        ValueError, match=r"Unknown source 'kermani'\. Did you mean 'kermany'\? Choose one of: folder, csv"
    ):
        parse_sources(["kermani", "a"])
    with pytest.raises(ValueError, match="source folder has no root"):
        parse_sources(["kermany", "a", "folder"])
    with pytest.raises(ValueError, match="No source is given"):
        parse_sources([])
