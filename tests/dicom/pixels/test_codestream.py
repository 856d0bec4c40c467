"""JPEG streams with headers that would end the process of their decoder are refused before decoding."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dicom_helpers import make_ds, picture, save

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.readers import read_radiograph

pytestmark = pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs DCMTK's dcmcjpeg")


@pytest.fixture
def compress(tmp_path):
    """Compress a data set with DCMTK; returns the path of the file."""

    def compress(ds, process):
        path = tmp_path / "image.dcm"
        command = ["dcmcjpeg", process, save(ds, tmp_path / "plain.dcm"), path]
        subprocess.run(command, check=True, capture_output=True)
        return path

    return compress


def change_byte(path, *, after, offset, value):
    """Overwrite one byte of a file, `offset` bytes behind the start of a marker."""
    content = bytearray(path.read_bytes())
    content[content.index(after) + offset] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("process", "precision"), [("+e1", 0), ("+e1", 17), ("+e1", 200), ("+ee", 2), ("+ee", 9), ("+ee", 200)]
)
def test_a_precision_that_would_end_the_process(compress, process, precision):
    path = compress(make_ds(picture(top=4095, dtype=np.uint16), bits_stored=12), process)
    frame_header = b"\xff\xc3\x00\x0b" if process == "+e1" else b"\xff\xc1\x00\x0b"
    change_byte(path, after=frame_header, offset=4, value=precision)
    with pytest.raises(UnreadableImage, match=f"{precision} bits"):
        read_radiograph(path)


@pytest.mark.parametrize(
    ("marker", "offset", "value", "message"),
    [(b"JFIF\0", 5, 0, "application segment"), (b"\xff\xda\x00\x08\x01", 7, 9, "predictor 9")],
)
def test_a_segment_that_would_end_the_process(compress, marker, offset, value, message):
    path = compress(make_ds(picture()), "+e1")
    change_byte(path, after=marker, offset=offset, value=value)
    with pytest.raises(UnreadableImage, match=message):
        read_radiograph(path)


def test_a_stream_of_another_size_than_its_header(compress, tmp_path):
    ds = pydicom.dcmread(compress(make_ds(picture()), "+eb"))
    ds.Rows = 80
    with pytest.raises(UnreadableImage, match="128 x 96 pixels, its header 128 x 80 pixels"):
        read_radiograph(save(ds, tmp_path / "other.dcm"))
