"""Radiographs from files of every kind, against other decoders and viewers; damaged files are named."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_helpers import make_ds, picture, save, ways_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.transforms import LoadImaged
from PIL import Image
from pydicom.uid import RLELossless

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


# Metadata


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


def test_functions_need_no_torch():
    code = "import sys; from covid_monai.readers import read_radiograph; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


# What cannot be read


def test_not_readable(tmp_path):
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.jpg").write_text("no image")
    whole = save(make_ds(picture()), tmp_path / "image.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-1000])
    causes = {
        "missing.dcm": "no such file",
        "empty.dcm": "empty",
        "text.jpg": "not a DICOM",
        "cut.dcm": "bytes",
    }
    for name, cause in causes.items():
        with pytest.raises(UnreadableImage, match=f"{name}.*{cause}"):
            read_radiograph(tmp_path / name)
    with pytest.raises(UnreadableImage, match="folder"):
        read_radiograph(tmp_path)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["image.jpg", "image.png", "mono2.dcm", "j2k.dcm", "rle.dcm"]), st.data())
@pytest.mark.filterwarnings("ignore")  # pydicom's, about values that are strange on purpose
def test_damaged_files_raise_nothing_else(damaged_source, name, data):
    whole = bytearray((damaged_source / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        # Headers are short: most places would only hit pixels.
        limit = data.draw(st.sampled_from([1200, len(whole)]))
        whole[data.draw(st.integers(0, min(limit, len(whole)) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    keep = data.draw(st.integers(1, len(whole)) | st.just(len(whole)))
    path = damaged_source / "damaged"
    path.write_bytes(whole[:keep])
    image, message = np.zeros(1), ""
    try:
        image, _ = read_radiograph(path, target_size=data.draw(st.sampled_from([None, 8])))
    except (RefusedImage, UnreadableImage) as error:
        message = str(error)
    assert "Doe" not in message
    assert np.isfinite(image).all()


@pytest.fixture(scope="module")
def damaged_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    ways_in(folder)
    ds = make_ds(picture())
    ds.compress(RLELossless)
    save(ds, folder / "rle.dcm")
    return folder


@pytest.mark.real_data
def test_a_truncated_transfer_is_called_that(real_data, tmp_path):
    whole = (real_data / "dicom" / "RG1_J2KI.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:60_000])
    with pytest.raises(UnreadableImage, match=r"cut\.dcm: The DICOM file is truncated or damaged"):
        read_radiograph(tmp_path / "cut.dcm")
