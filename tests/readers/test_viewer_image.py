"""What a viewer gets is what the classifier's reader shows."""

import io

import numpy as np
import pytest
from dicom_helpers import make_ds, picture, save, ways_in
from pydicom import dcmread

from covid_monai.app.sources import EXAMPLES
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.readers import read_radiograph
from covid_monai.readers.viewer_image import PADDING, TOP, read_for_viewer


def grey(viewed):
    return viewed.grey_of_code[viewed.codes] / 255


def test_every_format_is_shown_as_the_reader_reads_it(tmp_path):
    _, files = ways_in(tmp_path)
    for path in files:
        expected = read_radiograph(path)[0][0]
        assert np.abs(grey(read_for_viewer(path)) - expected).max() <= 1 / 255, path.name


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_signed_values_padding_and_the_window_of_the_file_are_kept(tmp_path, photometric):
    cells = picture(top=3000).astype(np.int16) - 1000
    cells[:10] = -2000
    elements = {"PixelPaddingValue": -2000, "RescaleSlope": 2, "RescaleIntercept": 10}
    window = {"WindowCenter": 900, "WindowWidth": 2000, "VOILUTFunction": "SIGMOID"}
    ds = make_ds(cells, photometric=photometric, **elements, **window)
    path = save(ds, tmp_path / "image.dcm")
    viewed = read_for_viewer(path)
    assert (viewed.codes[:10] == PADDING).all()
    assert (viewed.codes[10:] <= TOP).all()
    assert np.abs(grey(viewed) - read_radiograph(path)[0][0]).max() <= 1 / 255
    values = viewed.low + viewed.codes[10:] * ((viewed.high - viewed.low) / TOP)
    assert np.abs(values - (cells[10:] * 2.0 + 10)).max() < 0.1
    assert (viewed.center, viewed.width, viewed.function) == (900, 2000, "SIGMOID")
    assert viewed.inverse == (photometric == "MONOCHROME1")
    assert viewed.has_window


def test_without_a_window_one_spans_what_is_shown(tmp_path):
    ds = make_ds(picture(dtype=np.uint16, top=2000), bits_stored=12)
    viewed = read_for_viewer(save(ds, tmp_path / "image.dcm"))
    low, high = viewed.center - viewed.width / 2, viewed.center + viewed.width / 2
    assert viewed.low <= low < high <= viewed.high


def test_large_images_are_reduced_and_examples_are_labelled_as_synthetic(tmp_path):
    path = tmp_path / "image.dcm"
    path.write_bytes(EXAMPLES[0].draw().data)
    assert read_for_viewer(path, long_side=100).codes.shape == (100, 100)
    assert "SYNTHETIC" in dcmread(io.BytesIO(EXAMPLES[0].draw().data)).ImageType


@pytest.mark.real_data
def test_real_dicom_images_are_shown_as_the_reader_reads_them(real_data):
    shown = 0
    for path in sorted((real_data / "dicom").rglob("*")):
        try:
            expected = read_radiograph(path)[0][0] if path.is_file() else None
        except (RefusedImage, UnreadableImage):
            continue
        if expected is not None:
            viewed = read_for_viewer(path, long_side=max(expected.shape))
            assert np.abs(grey(viewed) - expected).max() <= 1.5 / 255, path.name
            shown += 1
    assert shown
