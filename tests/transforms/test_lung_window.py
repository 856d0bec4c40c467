"""Windows against pydicom's own implementation, on real slices and on generated ones."""

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from covid_monai.transforms import CT_WINDOWS, LungWindow, apply_lung_window


def windowed_by_pydicom(image_hu, center, width):
    """pydicom's LINEAR window; its output spans the range of signed 16-bit pixels, brought to [0, 1] here."""
    ds = Dataset()
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsStored = 16
    ds.PixelRepresentation = 1
    ds.WindowCenter, ds.WindowWidth = center, width
    return (apply_windowing(image_hu, ds) + 2**15) / (2**16 - 1)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["lungmask_0.dcm", "lungmask_1.dcm"])
@pytest.mark.parametrize("window", [(-600, 1500), (40, 400), (-550.5, 2)])
def test_real_slices_match_pydicom(real_data, name, window):
    ds = pydicom.dcmread(real_data / "ct" / name)
    image_hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    expected = windowed_by_pydicom(image_hu, *window)
    assert 0 < expected.mean() < 1  # the slice reaches into the window
    actual = LungWindow([window])(image_hu[None])
    np.testing.assert_allclose(actual[0], expected, atol=1e-6)


@pytest.mark.real_data
def test_real_volume_gives_one_channel_per_window(real_data):
    volume = nibabel.load(real_data / "ct" / "totalseg_example_ct.nii.gz")
    image_hu = MetaTensor(volume.get_fdata(dtype=np.float32)[None], affine=volume.affine)
    output = LungWindow(["lung", "mediastinum"])(image_hu)
    assert output.shape == (2, *volume.shape)
    np.testing.assert_array_equal(output.affine, volume.affine)
    for channel, name in zip(output.numpy(), ["lung", "mediastinum"], strict=True):
        np.testing.assert_allclose(
            channel, windowed_by_pydicom(image_hu.numpy()[0], *CT_WINDOWS[name]), atol=1e-6
        )


numbers_hu = st.floats(-4000, 4000, width=32)


@settings(max_examples=100, deadline=None)
@given(
    image_hu=hnp.arrays(np.float32, (4, 5), elements=numbers_hu), center=numbers_hu, width=st.floats(2, 5000)
)
def test_any_window_matches_pydicom_and_is_monotonic(image_hu, center, width):
    actual = apply_lung_window(image_hu, window_center=center, window_width=width)
    np.testing.assert_allclose(actual, windowed_by_pydicom(image_hu, center, width), atol=2e-4)
    assert actual.dtype == np.float32
    assert np.all(np.diff(actual.ravel()[image_hu.ravel().argsort()]) >= 0)


def test_ends_of_the_window_are_those_of_linear_not_of_linear_exact():
    """PS3.3 C.11.2.1.2.1, its own example: center 2048, width 4096 takes 0 to 0 and 4095 to full scale."""
    ends = apply_lung_window(np.array([0, 4095]), window_center=2048, window_width=4096)
    assert ends.tolist() == [0.0, 1.0]
    inside = apply_lung_window(np.array([1, 4094]), window_center=2048, window_width=4096)
    assert np.all((inside > 0) & (inside < 1))


def test_stored_types_become_float32():
    for dtype in (np.int16, np.uint16, np.int32, np.float64):
        output = LungWindow("mediastinum")(np.full((1, 3, 3), 40, dtype=dtype))
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, 0.5, atol=2e-3)


@pytest.mark.parametrize("width", [1, 0, -5, float("nan")])
def test_width_of_one_or_less_is_refused(width):
    with pytest.raises(ValueError, match="greater than 1 HU"):
        apply_lung_window(np.zeros(3), window_width=width)
    with pytest.raises(ValueError, match="width above 1"):
        LungWindow([(0, width)])


def test_wrong_windows_are_named():
    with pytest.raises(ValueError, match=r"'bone'.*lung, mediastinum"):
        LungWindow(["bone"])
    with pytest.raises(ValueError, match=r"\[\[-600, 1500\]\]"):
        LungWindow((-600, 1500))
    with pytest.raises(ValueError, match="at least one window"):
        LungWindow([])
    with pytest.raises(ValueError, match=r"\(2, 4, 4\).*EnsureChannelFirst"):
        LungWindow()(np.zeros((2, 4, 4)))
