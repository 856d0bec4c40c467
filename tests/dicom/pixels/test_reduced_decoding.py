"""Images read at a reduced size: the same picture in the same place, and the same refusals."""

import io

import cv2
import numpy as np
import pytest
import skimage.data
from dicom_helpers import make_ds, picture, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.transforms import Compose, LoadImaged, Resized
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.dicom.pixels.downscaling import OVERSAMPLING, downscale_factor
from covid_monai.dicom.pixels.reduced_decoding import decode_reduced
from covid_monai.readers import RadiographReader, read_radiograph

TARGET = 64
ROWS, COLUMNS = 530, 601  # two halvings; divisible by nothing


def wide_picture(rows=ROWS, columns=COLUMNS, **options):
    """`picture` with details of the size of an image's, not of a pixel's."""
    return cv2.resize(picture(**options), (columns, rows), interpolation=cv2.INTER_LINEAR)


def compressed(pixels, folder, **elements):
    ds = make_ds(pixels, **elements)
    ds.compress(JPEG2000Lossless)
    return save(ds, folder / "image.dcm")


def jpeg_dicom(pixels, folder):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=98)
    ds = make_ds(pixels)
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return save(ds, folder / "image.dcm")


def drawn(pixels, folder, suffix, **options):
    Image.fromarray(pixels).save(folder / f"image.{suffix}", **options)
    return folder / f"image.{suffix}"


def twelve(pixels):
    return np.rint(pixels * np.float32(4095 / 255)).astype(np.uint16)


def signed(pixels):
    return (twelve(pixels).astype(np.int32) - 2048).astype(np.int16)


WAYS = {
    "jpeg": lambda pixels, folder: drawn(pixels, folder, "jpg", quality=98),
    "progressive": lambda pixels, folder: drawn(pixels, folder, "jpg", quality=98, progressive=True),
    "rgb": lambda pixels, folder: drawn(np.repeat(pixels[..., None], 3, 2), folder, "jpg", quality=98),
    "png": lambda pixels, folder: drawn(pixels, folder, "png"),
    "png16": lambda pixels, folder: drawn(pixels.astype(np.uint16) * 257, folder, "png"),
    "raw8": lambda pixels, folder: save(make_ds(pixels), folder / "image.dcm"),
    "raw12": lambda pixels, folder: save(make_ds(twelve(pixels), bits_stored=12), folder / "image.dcm"),
    "raw16": lambda pixels, folder: save(make_ds(pixels.astype(np.uint16) * 257), folder / "image.dcm"),
    "raw signed": lambda pixels, folder: save(make_ds(signed(pixels), bits_stored=12), folder / "image.dcm"),
    "mono1": lambda pixels, folder: compressed(255 - pixels, folder, photometric="MONOCHROME1"),
    "j2k8": compressed,
    "j2k12": lambda pixels, folder: compressed(twelve(pixels), folder, bits_stored=12),
    "j2k16": lambda pixels, folder: compressed(pixels.astype(np.uint16) * 257, folder),
    "j2k signed": lambda pixels, folder: compressed(signed(pixels), folder, bits_stored=12),
    "jpeg dicom": jpeg_dicom,
}
# Between percentiles: they have no window.
STRETCHED = ("raw12", "raw16", "raw signed", "j2k12", "j2k16", "j2k signed")
REDUCED_STREAMS = ("mono1", "j2k8", "j2k12", "j2k16", "j2k signed", "jpeg dicom")


@pytest.mark.parametrize("way", WAYS)
def test_a_reduced_image_is_the_whole_one_in_fewer_pixels(tmp_path, way):
    path = WAYS[way](wide_picture(), tmp_path)
    whole, meta = read_radiograph(path)
    small, small_meta = read_radiograph(path, target_size=TARGET)
    factor = downscale_factor(ROWS, COLUMNS, TARGET)
    assert factor == 2
    assert small.shape == (1, -(-ROWS // factor), -(-COLUMNS // factor))
    expected = cv2.resize(whole[0], small.shape[:0:-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small[0] - expected).mean() < 1 / 255
    for key in ("spatial_shape", "spacing_mm", "original_affine"):
        np.testing.assert_array_equal(small_meta[key], meta[key])


@pytest.mark.parametrize("way", REDUCED_STREAMS)
def test_streams_that_allow_it_are_decoded_reduced(tmp_path, monkeypatch, way):
    path = WAYS[way](wide_picture(), tmp_path)
    monkeypatch.setattr(
        "covid_monai.readers.radiograph.decode_pixels", lambda _: pytest.fail("decoded whole")
    )
    read_radiograph(path, target_size=TARGET)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("target", [16, 30])
def test_every_pixel_lies_where_the_affine_says(tmp_path, way, target):
    """A ramp along rows and columns gives each pixel's place away."""
    rows, columns = 528, 608  # whole blocks of 8
    row, column = np.mgrid[0:rows, 0:columns]
    ramp = (row / rows + column / columns) / 2
    path = WAYS[way]((ramp * 255).round().astype(np.uint8), tmp_path)
    low, high = np.percentile(ramp, [0.5, 99.5]) if way in STRETCHED else (0, 1)
    image, meta = read_radiograph(path, target_size=target)
    grid = np.stack([*np.mgrid[0 : image.shape[1], 0 : image.shape[2]], np.zeros(image.shape[1:])])
    place = np.tensordot(meta["affine"], np.concatenate([grid, np.ones((1, *image.shape[1:]))]), axes=1)
    expected = np.clip(((place[0] / rows + place[1] / columns) / 2 - low) / (high - low), 0, 1)
    inside = (slice(2, -2), slice(2, -2))
    difference = (image[0] - expected)[inside] * 255
    # An image off by half a pixel would be 1.6 (target 16) or 0.8 levels off. The reversible wavelet
    # of JPEG 2000 rounds at every level, which at 8 bits adds up to one.
    rounding = 1.2 if way in ("mono1", "j2k8") else 0.4
    assert np.abs(difference).max() < 2
    assert abs(difference.mean()) < rounding


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_photographs_are_upright_and_as_large(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = drawn(wide_picture(), tmp_path, "jpg", exif=exif, quality=98)
    whole, meta = read_radiograph(path)
    small, small_meta = read_radiograph(path, target_size=TARGET)
    np.testing.assert_array_equal(small_meta["spatial_shape"], meta["spatial_shape"])
    expected = cv2.resize(whole[0], small.shape[:0:-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small[0] - expected).mean() < 1 / 255


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["jpeg", "png", "raw12", "j2k12", "jpeg dicom"]),
    st.integers(64, 900),
    st.integers(64, 900),
    st.sampled_from([16, 32, 50]),
)
def test_the_network_sees_the_same_image_within_two_grey_levels(tmp_path, way, rows, columns, target):
    if max(rows, columns) > 4 * min(rows, columns):
        rows = columns
    path = WAYS[way](wide_picture(rows, columns), tmp_path)
    resize = Resized("image", (target, target), mode="area")
    whole, small = (
        Compose([LoadImaged("image", reader=RadiographReader, **options), resize])({"image": path})["image"]
        for options in ({}, {"target_size": target})
    )
    assert (whole - small).abs().mean() * 255 < 2
    image, _ = read_radiograph(path, target_size=target)
    assert min(image.shape[1:]) >= min(rows, columns, OVERSAMPLING * target)


def test_without_a_target_and_for_small_images_nothing_changes(tmp_path):
    for way in ("jpeg", "raw12", "j2k12"):
        path = WAYS[way](picture(200, 220), tmp_path)
        np.testing.assert_array_equal(read_radiograph(path)[0], read_radiograph(path, target_size=TARGET)[0])


def test_codes_are_averaged_the_same_however_they_are_packed(tmp_path):
    ds = make_ds(signed(wide_picture()), bits_stored=12, WindowCenter=-300, WindowWidth=2500)
    raw, _ = read_radiograph(save(ds, tmp_path / "raw.dcm"), target_size=TARGET)
    ds.compress(RLELossless)
    packed, _ = read_radiograph(save(ds, tmp_path / "rle.dcm"), target_size=TARGET)
    np.testing.assert_array_equal(packed, raw)


def test_the_range_of_a_raw_image_is_that_of_all_its_pixels(tmp_path):
    """Bright dots, as thin letters have them, are gone when the percentiles come from averages."""
    pixels = twelve(wide_picture()) // 2
    pixels[np.random.default_rng(0).random(pixels.shape) < 0.008] = 4095
    path = save(make_ds(pixels, bits_stored=12), tmp_path / "image.dcm")
    whole, small = (read_radiograph(path, **options)[0][0] for options in ({}, {"target_size": TARGET}))
    expected = cv2.resize(whole, small.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small - expected).mean() < 0.5 / 255


# What must not be averaged, and what must still be found


@pytest.mark.parametrize("packed", [True, False])
def test_padding_is_not_averaged_before_it_is_known(tmp_path, packed):
    pixels = twelve(wide_picture())
    pixels[:, :101] = 4095
    ds = make_ds(pixels, bits_stored=12, PixelPaddingValue=4095)
    if packed:
        ds.compress(JPEG2000Lossless)
    path = save(ds, tmp_path / "image.dcm")
    whole, _ = read_radiograph(path)
    assert (whole[0, :, :101] == 0).all()
    small, _ = read_radiograph(path, target_size=TARGET)
    np.testing.assert_allclose(
        small[0], cv2.resize(whole[0], small.shape[:0:-1], interpolation=cv2.INTER_AREA)
    )


def test_a_stream_of_other_bits_than_its_header_is_decoded_whole():
    ds = make_ds(twelve(wide_picture()), bits_stored=12)
    ds.compress(JPEG2000Lossless)
    assert decode_reduced(ds, TARGET) is not None
    ds.BitsStored, ds.HighBit = 10, 9
    assert decode_reduced(ds, TARGET) is None
    palette = make_ds(wide_picture(), photometric="PALETTE COLOR")
    palette.compress(JPEG2000Lossless)
    assert decode_reduced(palette, TARGET) is None


@pytest.mark.parametrize("way", ["jpeg", "progressive", "j2k12", "jpeg dicom"])
def test_what_is_cut_short_is_found_as_in_the_whole(tmp_path, way):
    content = WAYS[way](wide_picture(), tmp_path).read_bytes()
    for left in (0.3, 0.7, 0.95, 0.99, 0.999):
        (tmp_path / "cut").write_bytes(content[: int(left * len(content))])
        for target in (None, TARGET):
            with pytest.raises(UnreadableImage, match="cut"):
                read_radiograph(tmp_path / "cut", target_size=target)


@pytest.mark.parametrize("way", ["j2k12", "jpeg dicom"])
def test_a_stream_cut_short_inside_a_whole_file_is_found(tmp_path, way):
    import pydicom

    ds = pydicom.dcmread(WAYS[way](wide_picture(), tmp_path))
    stream = ds.PixelData[16:]  # behind the empty offset table and the item's header
    for left in (0.3, 0.9, 0.99):
        ds.PixelData = encapsulate([stream[: int(left * len(stream))]])
        for target in (None, TARGET):
            with pytest.raises(UnreadableImage):
                read_radiograph(save(ds, tmp_path / "cut.dcm"), target_size=target)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_photographs_are_refused_reduced_as_well(tmp_path, name):
    photograph = Image.fromarray(getattr(skimage.data, name)()).resize((1200, 1100))
    photograph.save(tmp_path / "photograph.jpg")
    with pytest.raises(RefusedImage) as caught:
        read_radiograph(tmp_path / "photograph.jpg", target_size=TARGET)
    assert caught.value.reason is RefusalReason.COLOUR


@pytest.mark.parametrize("way", ["jpeg", "png", "raw12", "j2k12", "jpeg dicom"])
def test_blank_images_are_refused_and_grainy_ones_as_before(tmp_path, way):
    blank = WAYS[way](np.full((ROWS, COLUMNS), 90, np.uint8), tmp_path)
    with pytest.raises(RefusedImage) as caught:
        read_radiograph(blank, target_size=32)
    assert caught.value.reason is RefusalReason.BLANK
    # Its grain is all that this one shows, and averaging takes that away: the whole picture decides.
    grain = np.random.default_rng(0).normal(90, 4, (ROWS, COLUMNS)).round().astype(np.uint8)
    grainy = WAYS[way](grain, tmp_path)
    read_radiograph(grainy)
    assert read_radiograph(grainy, target_size=32)[0].shape[1] < ROWS


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "Fake_MONOHR1.dcm", "vlut_04.dcm", "mlut_18.dcm"])
def test_real_dicom_files_reach_the_network_within_two_grey_levels(real_data, name):
    resize = Resized("image", (TARGET, TARGET), mode="area")
    whole, small = (
        Compose([LoadImaged("image", reader=RadiographReader, **options), resize])(
            {"image": str(real_data / "dicom" / name)}
        )["image"]
        for options in ({}, {"target_size": TARGET})
    )
    assert (whole - small).abs().mean() * 255 < 1


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["covid-chestxray-dataset/images", "darkcovidnet", "covid-cxnet/covid19"])
def test_real_images_reach_the_network_within_two_grey_levels(real_data, folder):
    paths = sorted((real_data / folder).rglob("*.jp*g"))[::12]
    resize = Resized("image", (TARGET, TARGET), mode="area")
    ways = [
        Compose([LoadImaged("image", reader=RadiographReader, **options), resize])
        for options in ({}, {"target_size": TARGET})
    ]
    differences = []
    for path in paths:
        try:
            whole, small = (way({"image": str(path)})["image"] for way in ways)
        except RuntimeError:  # refused: by both
            with pytest.raises(RefusedImage):
                read_radiograph(path)
            with pytest.raises(RefusedImage):
                read_radiograph(path, target_size=TARGET)
            continue
        differences.append(float((whole - small).abs().mean()) * 255)
    assert len(differences) > 20
    assert np.mean(differences) < 1
    assert max(differences) < 2
