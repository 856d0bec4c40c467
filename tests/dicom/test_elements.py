"""Single elements, read tolerantly: absent, empty, repeated and malformed ones."""

import io

import pydicom
import pytest
from dicom_helpers import make_ds, picture
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covid_monai.dicom.elements import get_encoding, get_number, get_numbers, get_text


def raw(keyword, vr, value):
    """A dataset with one element as a file holds it."""
    ds = Dataset()
    ds[Tag(keyword)] = RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)
    return ds


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("ds", "text"),
    [
        (Dataset(), ""),
        (raw("Modality", "CS", b""), ""),
        (raw("Modality", "CS", b"CR"), "CR"),
        (raw("Modality", "CS", b" CR \0"), "CR"),
        (raw("Modality", "CS", b"\0\0"), ""),
        (raw("Modality", "US", b"x"), ""),
    ],
)
def test_a_text_is_stripped_or_empty(ds, text):
    assert get_text(ds, "Modality") == text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (b"", []),
        (b"1.5", [1.5]),
        (b"1.5\\-2", [1.5, -2]),
        (b"abc", []),
        (b"1\\abc", []),
        (b"1e999", []),
        (b"nan", []),
        (b"inf\\1", []),
    ],
)
def test_numbers_are_all_finite_or_none(value, numbers):
    ds = raw("WindowCenter", "DS", value)
    assert get_numbers(ds, "WindowCenter") == numbers
    assert get_number(ds, "WindowCenter") == (numbers[0] if len(numbers) == 1 else None)
    assert get_number(Dataset(), "WindowCenter") is None


@pytest.mark.parametrize(
    ("syntax", "encoding"),
    [
        (ImplicitVRLittleEndian, (True, True)),
        (ExplicitVRLittleEndian, (False, True)),
        (ExplicitVRBigEndian, (False, False)),
    ],
)
def test_the_encoding_is_that_of_the_file(syntax, encoding):
    content = io.BytesIO()
    ds = make_ds(picture())
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(content, enforce_file_format=True)
    content.seek(0)
    assert get_encoding(pydicom.dcmread(content)) == encoding
    assert get_encoding(Dataset()) == (False, True)
