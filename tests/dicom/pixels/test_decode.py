"""Decoding to stored values: missing elements, lossless syntaxes, samples that overshoot."""

import shutil
import subprocess

import numpy as np
import pytest
from dicom_helpers import SECONDARY_CAPTURE, make_ds, picture, save
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.readers import read_radiograph


def test_elements_that_anonymisers_drop(tmp_path):
    ds = make_ds(picture())
    expected, _ = read_radiograph(save(ds, tmp_path / "image.dcm"))
    for keyword in ("HighBit", "PixelRepresentation", "SamplesPerPixel"):
        delattr(ds, keyword)
    np.testing.assert_array_equal(read_radiograph(save(ds, tmp_path / "dropped.dcm"))[0], expected)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_transfer_syntaxes(tmp_path, syntax, signed):
    pixels = picture(top=4095, dtype=np.uint16)
    if signed:
        pixels = (pixels.astype(np.int32) - 2048).astype(np.int16)
    center = "0" if signed else "2048"
    ds = make_ds(pixels, bits_stored=12, WindowCenter=center, WindowWidth="4096")
    expected, _ = read_radiograph(save(ds, tmp_path / "plain.dcm"))
    if syntax in (RLELossless, JPEG2000Lossless):
        ds.compress(syntax)
    else:
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(read_radiograph(save(ds, tmp_path / "image.dcm"))[0], expected)


@pytest.mark.parametrize(
    ("command", "tolerance"),
    [
        (["dcmcjpeg", "+e1"], 0),  # lossless, selection value 1
        (["dcmcjpeg", "+el", "+sv", "6"], 0),  # lossless, process 14
        (["dcmcjpeg", "+ee", "+q", "100"], 8 / 4095),  # extended, 12 bits
        (["dcmcjpls", "+el"], 0),
        (["dcmcjpls", "+en", "+md", "2"], 2 / 4095),  # near-lossless
        (["dcmcrle"], 0),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_transfer_syntaxes_that_dcmtk_writes(tmp_path, command, tolerance, photometric):
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs DCMTK's {command[0]}")
    pixels = picture(top=4095, dtype=np.uint16)
    ds = make_ds(pixels, bits_stored=12, photometric=photometric, WindowCenter="2048", WindowWidth="4096")
    plain, image = save(ds, tmp_path / "plain.dcm"), tmp_path / "image.dcm"
    subprocess.run([*command, plain, image], check=True, capture_output=True)
    # The window belongs to the original values; dcmcjpeg may scale lossy ones.
    np.testing.assert_allclose(read_radiograph(image)[0], read_radiograph(plain)[0], atol=tolerance + 1e-6)


def test_lossy_overshoot_does_not_wrap(tmp_path):
    ds = make_ds(picture(top=2047, dtype=np.uint16), bits_stored=12, WindowCenter="512", WindowWidth="1024")
    ds.compress(JPEG2000Lossless)
    ds.BitsStored, ds.HighBit = 10, 9  # a stream of 12 bits in a header of 10
    image, _ = read_radiograph(save(ds, tmp_path / "image.dcm"))
    expected = np.minimum(picture(top=2047, dtype=np.uint16), 1023) / 1023
    np.testing.assert_allclose(image[0], expected, atol=1e-3)


LENGTHS = {
    "short": lambda data: data[:-100],
    "twice": lambda data: data + data,
    "another image": lambda data: data + bytes(range(250)) * 2,
}


@pytest.mark.parametrize("change", LENGTHS)
def test_uncompressed_pixels_of_another_length_than_their_header(tmp_path, change):
    ds = make_ds(picture())
    ds.PixelData = LENGTHS[change](ds.PixelData)
    with pytest.raises(UnreadableImage, match=r"have [\d,]+ bytes, but its header describes 12,288"):
        read_radiograph(save(ds, tmp_path / "image.dcm"))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_an_element_without_bytes_is_named(tmp_path, syntax):
    ds = make_ds(picture())
    if syntax != ExplicitVRLittleEndian:
        ds.compress(syntax)
    path = save(ds, tmp_path / "empty.dcm")
    content = path.read_bytes()
    header = content.rindex(b"\xe0\x7f\x10\x00O") + 8  # tag, VR and reserved bytes; the length follows
    path.write_bytes(content[:header] + bytes(4))
    with pytest.raises(UnreadableImage, match="Its PixelData is empty"):
        read_radiograph(path)


@pytest.mark.parametrize("padding", [b"\0", bytes(2), bytes(3000), b"\1\2\3"])
def test_padding_behind_the_pixels_is_no_error(tmp_path, padding):
    ds = make_ds(picture())
    expected, _ = read_radiograph(save(ds, tmp_path / "plain.dcm"))
    ds.PixelData += padding
    np.testing.assert_array_equal(read_radiograph(save(ds, tmp_path / "image.dcm"))[0], expected)


@pytest.mark.parametrize("by_plane", [0, 1])
def test_samples_in_the_other_order_of_planar_configuration(tmp_path, by_plane):
    pixels = np.repeat(picture()[..., None], 3, 2)
    ds = make_ds(pixels, sop_class=SECONDARY_CAPTURE, photometric="RGB", PlanarConfiguration=by_plane)
    ds.PixelData = np.moveaxis(pixels, -1, 0).tobytes() if by_plane else pixels.tobytes()
    expected, _ = read_radiograph(save(make_ds(picture()), tmp_path / "plain.dcm"))
    np.testing.assert_allclose(read_radiograph(save(ds, tmp_path / "right.dcm"))[0], expected, atol=1e-6)
    ds.PlanarConfiguration = 1 - by_plane
    with pytest.raises(UnreadableImage, match="Planar Configuration"):
        read_radiograph(save(ds, tmp_path / "wrong.dcm"))


def test_sixteen_bits_in_thirty_two_allocated(tmp_path):
    pixels = picture(top=4095, dtype=np.uint16)
    expected, _ = read_radiograph(save(make_ds(pixels, bits_stored=12), tmp_path / "plain.dcm"))
    wide = make_ds(pixels.astype(np.uint32), bits_stored=12)
    np.testing.assert_array_equal(read_radiograph(save(wide, tmp_path / "image.dcm"))[0], expected)


@pytest.mark.parametrize(("samples", "photometric"), [(3, "MONOCHROME2"), (3, "PALETTE COLOR")])
def test_samples_that_the_photometric_interpretation_denies(tmp_path, samples, photometric):
    ds = make_ds(np.repeat(picture()[..., None], samples, 2), photometric=photometric)
    with pytest.raises(UnreadableImage, match="3 samples, but Photometric Interpretation"):
        read_radiograph(save(ds, tmp_path / "image.dcm"))
