"""Stored bits in cells whose header is wrong about them: the right picture or an error, nothing garbled."""

import numpy as np
import pytest
from dicom_helpers import make_ds, picture, save

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.readers import read_radiograph

VALUES = picture(top=4095, dtype=np.uint16)
WINDOW = {"WindowCenter": "2048", "WindowWidth": "4096"}


def shown(cells, folder, **elements):
    ds = make_ds(np.asarray(cells), bits_stored=elements.pop("stored", 12), **WINDOW)
    padding = elements.pop("padding", None)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    if padding is not None:
        ds.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
    return read_radiograph(save(ds, folder / "image.dcm"))[0][0]


def assert_shown(found, values=VALUES):
    np.testing.assert_allclose(found, values / 4095, atol=1e-3)


@pytest.mark.parametrize("high_bit", [12, 13, 15])
def test_right_aligned_samples_whatever_high_bit_says(tmp_path, high_bit):
    assert_shown(shown(VALUES, tmp_path, HighBit=high_bit))


def test_left_aligned_samples(tmp_path):
    assert_shown(shown(VALUES << 4, tmp_path, HighBit=15))
    assert_shown(shown(VALUES << 4 | 5, tmp_path, HighBit=15))  # the same in all cells


@pytest.mark.parametrize("factor", [2, 8, 16])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_values_that_go_on_above_the_stored_bits_are_an_error(tmp_path, factor, dtype):
    bits = (4095 * factor).bit_length()
    with pytest.raises(UnreadableImage, match=f"Its samples use {bits} bits, its header says 12"):
        shown(VALUES.astype(dtype) * factor, tmp_path)


def test_other_bits_above_the_stored_ones_change_nothing(tmp_path):
    few = VALUES.copy()
    few[0, :20] |= 1 << 13
    assert_shown(shown(few, tmp_path))
    assert_shown(shown(VALUES | np.uint16(0xA000), tmp_path))
    letters = np.where(picture() > 128, np.uint16(1 << 14), np.uint16(0))
    assert_shown(_with_overlay(tmp_path, letters))


def _with_overlay(folder, letters):
    ds = make_ds(VALUES | letters, bits_stored=12, **WINDOW)
    ds.add_new(0x60020102, "US", 14)
    return read_radiograph(save(ds, folder / "image.dcm"))[0][0]


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("padding", [None, -30000, 35536])
def test_signed_values_with_and_without_their_sign_in_the_higher_bits(tmp_path, extended, padding):
    signed = VALUES.astype(np.int32) - 2048
    cells = (signed if extended else signed & 0xFFF).astype(np.uint16)
    expected = VALUES.copy()
    if padding is not None:
        cells[:, :40], expected[:, :40] = padding & 0xFFFF, 0
    window = {"WindowCenter": "0", "PixelRepresentation": 1}
    assert_shown(shown(cells, tmp_path, padding=padding, **window), expected)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("padding", [63000, 65535, 4096, 0, 4095])
def test_padding_is_black_whatever_bits_it_needs(tmp_path, photometric, padding):
    cells, expected = VALUES.copy(), VALUES.copy()
    if photometric == "MONOCHROME1":
        cells = 4095 - cells
    cells[(cells == padding) & (padding <= 4095)] = 100
    expected = 4095 - cells if photometric == "MONOCHROME1" else cells.copy()
    cells[:, :60], expected[:, :60] = padding, 0
    assert_shown(shown(cells, tmp_path, padding=padding, PhotometricInterpretation=photometric), expected)
