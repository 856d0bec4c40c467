"""The lung masks of V7 Labs: every mask belongs to its image, and patients stay apart."""

import json

import pytest
from dataset_helpers import found
from PIL import Image

from covid_monai.datasets.datalist import read_datalist


@pytest.mark.real_data
def test_every_mask_has_the_size_of_its_image_and_the_patient_of_the_collection(real_data):
    records, excluded = found("lung-masks", real_data)
    assert (len(records), len(excluded)) == (417, 1)
    patients = {
        record.image: record.patient for record in found("ieee8023", real_data / "covid-chestxray-dataset")[0]
    }
    for record in records:
        assert record.mask.stem == record.image.stem
        assert record.patient == patients[record.image]
    for record in records[::40]:
        assert Image.open(record.mask).size == Image.open(record.image).size


def test_a_datalist_gives_the_paths_of_masks_and_names_a_missing_one(tmp_path):
    for name in ("a.png", "b.png", "a-mask.png"):
        Image.new("L", (8, 8)).save(tmp_path / name)
    items = [{"image": "a.png", "mask": "a-mask.png", "label": 0}, {"image": "b.png", "label": 1}]
    content = {"labels": {"0": "normal", "1": "covid"}, "training": items}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    records = read_datalist(tmp_path / "datalist.json").records("training")
    assert [record.get("mask") for record in records] == [str(tmp_path / "a-mask.png"), None]
    (tmp_path / "a-mask.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 .* missing, the first is .*a-mask\.png"):
        read_datalist(tmp_path / "datalist.json").records("training")
