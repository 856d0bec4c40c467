"""Inputs that several tests of de-identification share."""

import pytest
from deidentify_helpers import PLAIN_TAGS, image, plant, write_export
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


@pytest.fixture
def export(tmp_path):
    return write_export(tmp_path)


@pytest.fixture
def planted_image():
    """Every attribute of the table with a marker of its own, on top and in an item of a kept sequence."""
    ds = image()
    planted = plant(ds, PLAIN_TAGS, level=0)
    deep, item = Dataset(), Dataset()
    planted += plant(deep, PLAIN_TAGS, level=2)
    item.ViewModifierCodeSequence = Sequence([deep])
    ds.ViewCodeSequence = Sequence([item])
    return ds, planted
