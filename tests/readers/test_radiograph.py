"""Radiographs off disk, through every way in, against the decoders and viewers that users have."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_helpers import make_ds, picture, save, ways_in
from monai.data import MetaTensor, list_data_collate
from monai.transforms import EnsureChannelFirst, LoadImage, LoadImaged
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.readers import RadiographReader, read_radiograph

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
RSNA = "dicom/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"


# Real files


def test_every_public_dicom_file_has_a_known_outcome(real_data):
    outcomes = {}
    for path in sorted((real_data / "dicom").glob("*.dcm")) + sorted((real_data / "ct").glob("*.dcm")):
        try:
            image, _ = read_radiograph(path)
            assert image.ndim == 3
            assert image.dtype == np.float32
            assert image.shape[0] == 1
            assert 0 <= image.min() < image.max() <= 1
            outcomes[path.name] = "ok"
        except RefusedImage as error:
            outcomes[path.name] = error.reason.value
    assert outcomes == {
        Path(RSNA).name: "ok",
        "Fake_MONOHR1.dcm": "ok",
        "RG1_J2KI.dcm": "ok",
        "mlut_18.dcm": "ok",
        "vlut_04.dcm": "ok",
        "RG3_J2KI.dcm": "not_a_chest",
        "RG3_J2KR.dcm": "not_a_chest",
        "HTJ2K_08_RGB.dcm": "colour",
        "693_UNCR.dcm": "not_a_projection_radiograph",
        "JPGLosslessP14SV1_1s_1f_8b.dcm": "not_a_projection_radiograph",
        "lungmask_0.dcm": "not_a_projection_radiograph",
        "lungmask_1.dcm": "not_a_projection_radiograph",
    }


def test_twins_differ_exactly_by_polarity(real_data):
    first, _ = read_radiograph(real_data / RSNA)
    second, _ = read_radiograph(real_data / "dicom/Fake_MONOHR1.dcm")
    np.testing.assert_allclose(first, 1 - second, atol=1e-6)
    np.testing.assert_allclose(first[0], pydicom.dcmread(real_data / RSNA).pixel_array / 255, atol=1e-6)


def test_monochrome1_jpeg2000_chest_is_upright_with_bright_bone(real_data):
    image, meta = read_radiograph(real_data / "dicom/RG1_J2KI.dcm")
    assert image.shape == (1, 1955, 1841)
    assert meta["PhotometricInterpretation"] == "MONOCHROME1"
    ds = pydicom.dcmread(real_data / "dicom/RG1_J2KI.dcm")
    shown = 1 - np.clip((ds.pixel_array - 14999.5) / 29999 + 0.5, 0, 1)
    np.testing.assert_allclose(image[0], shown, atol=1e-6)
    spine, right_lung = image[0, 500:700, 880:940].mean(), image[0, 450:650, 350:550].mean()
    assert spine > right_lung + 0.1
    # Shoulders taper towards the neck: the corners beside it are air, above the diaphragm's dense half.
    assert image[0, 1400:1800, 400:1400].mean() > image[0, 400:800, 400:1400].mean()


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="needs DCMTK's dcmj2pnm")
@pytest.mark.parametrize(
    ("name", "options"),
    [(RSNA, ["-W"]), ("dicom/Fake_MONOHR1.dcm", ["-W"]), ("dicom/vlut_04.dcm", ["+Wl", "1"])],
)
def test_real_files_equal_dcmtk(real_data, tmp_path, name, options):
    png = tmp_path / "image.png"
    subprocess.run(["dcmj2pnm", *options, "+on", real_data / name, png], check=True, capture_output=True)
    image, _ = read_radiograph(real_data / name)
    np.testing.assert_allclose(image[0] * 255, np.asarray(Image.open(png)), atol=1)


def test_modality_lut_file_equals_pydicom(real_data):
    from pydicom.pixels import apply_modality_lut

    ds = pydicom.dcmread(real_data / "dicom/mlut_18.dcm")
    values = apply_modality_lut(ds.pixel_array, ds).astype(float)
    low, high = np.percentile(values, [0.5, 99.5], method="inverted_cdf")
    image, _ = read_radiograph(real_data / "dicom/mlut_18.dcm")
    np.testing.assert_allclose(image[0], np.clip((values - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's own, about files that are wrong on purpose
def test_pydicom_files_give_a_grey_image_or_a_reason():
    accepted, messages = set(), {}
    for path in sorted(p for p in PYDICOM_FILES.rglob("*") if p.is_file()):
        try:
            image, _ = read_radiograph(path)
        except (RefusedImage, UnreadableImage) as error:
            messages[path] = str(error)
        else:
            assert image.ndim == 3
            assert min(image.shape[1:]) >= 64
            accepted.add(path.name)
    assert all(path.name in message for path, message in messages.items())
    assert accepted == {"image_dfl.dcm"}  # the only grey single-frame secondary capture of a size


# The same picture through every way in


def test_same_picture_through_every_way_in(tmp_path):
    pixels, paths = ways_in(tmp_path)
    assert len(paths) == 10
    load = LoadImaged(keys="image", reader=RadiographReader)
    for path in paths:
        image, _ = read_radiograph(path)
        assert image.shape == (1, *pixels.shape), path.name
        np.testing.assert_allclose(image[0] * 255, pixels, atol=1.001, err_msg=path.name)
        np.testing.assert_array_equal(load({"image": str(path)})["image"].numpy(), image)


def test_grey_saved_as_rgb_gives_exactly_the_same(tmp_path):
    _, _ = ways_in(tmp_path)
    grey, _ = read_radiograph(tmp_path / "image.png")
    for name in ("rgb.png", "rgb.dcm", "mono2.dcm", "mono1.dcm", "j2k.dcm"):
        np.testing.assert_allclose(read_radiograph(tmp_path / name)[0], grey, atol=1e-7)


def test_the_folder_of_a_series_of_one_image_is_that_image(tmp_path):
    _, paths = ways_in(tmp_path)
    (tmp_path / "series").mkdir()
    paths[0].rename(tmp_path / "series" / "image.dcm")
    alone, meta = read_radiograph(tmp_path / "series" / "image.dcm")
    image, found = LoadImaged(keys="image", reader=RadiographReader, image_only=False)(
        {"image": str(tmp_path / "series")}
    ).values()
    np.testing.assert_array_equal(image.numpy(), alone)
    assert found["SOPInstanceUID"] == meta["SOPInstanceUID"]
    with pytest.raises(UnreadableImage, match=f"a folder of {len(paths) - 1} files"):
        read_radiograph(tmp_path)


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


# Metadata and MONAI


def test_metadata(tmp_path):
    ds = make_ds(picture(), ImagerPixelSpacing=["0.2", "0.3"], ViewPosition="PA", PatientSex="F")
    _, meta = read_radiograph(save(ds, tmp_path / "image.dcm"))
    assert meta["spacing_source"] == "ImagerPixelSpacing"
    np.testing.assert_array_equal(meta["spacing_mm"], [0.2, 0.3])
    np.testing.assert_array_equal(meta["affine"], np.diag([0.2, 0.3, 1, 1]))
    assert (meta["ViewPosition"], meta["PatientSex"], meta["PatientID"]) == ("PA", "F", "P1")
    assert meta["SOPInstanceUID"] == ds.SOPInstanceUID
    ds.PixelSpacing = ["0.15", "0.15"]
    _, meta = read_radiograph(save(ds, tmp_path / "image.dcm"))
    assert (meta["spacing_source"], meta["spacing_mm"][0]) == ("PixelSpacing", 0.15)
    Image.fromarray(picture()).save(tmp_path / "image.png")
    _, plain = read_radiograph(tmp_path / "image.png")
    assert plain.keys() == meta.keys()
    assert plain["spacing_source"] == "none"
    assert all(value is not None for value in (*meta.values(), *plain.values()))


def test_monai_loads_collates_and_keeps_the_axes(tmp_path):
    _, paths = ways_in(tmp_path)
    load = LoadImaged(keys="image", reader=RadiographReader)
    batch = list_data_collate([load({"image": path}) for path in paths[:4]])
    assert batch["image"].shape == (4, 1, 96, 128)
    named = LoadImage(reader="covid_monai.readers.RadiographReader")(paths[0])
    assert isinstance(named, MetaTensor)
    assert EnsureChannelFirst()(named).shape == (1, 96, 128)
    assert LoadImage(reader=RadiographReader, ensure_channel_first=True)(paths[0]).shape == (1, 96, 128)


def test_monai_does_not_fall_back_to_other_readers(tmp_path):
    load = LoadImage(reader=RadiographReader)
    refused = save(make_ds(picture(), Modality="CT"), tmp_path / "ct.dcm")
    with pytest.raises(RefusedImage):
        load(refused)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnreadableImage):
        load(tmp_path / "cut.png")
    with pytest.raises(ValueError, match="2 files"):
        load([refused, refused])


def test_functions_need_no_torch():
    code = "import sys; from covid_monai.readers import read_radiograph; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
