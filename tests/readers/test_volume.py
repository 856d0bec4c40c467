"""CT volumes against nibabel and SimpleITK; what they are made of is tested module by module beside this."""

import shutil
import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from ct_helpers import (
    COLUMNS,
    ROWS,
    check_volume,
    field_hu,
    make_slices,
    oblique,
    refused,
    set_hu,
    write_slices,
)
from monai.transforms import EnsureChannelFirst, LoadImage, LoadImaged
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.readers import VolumeReader, read_volume

HU = field_hu()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["totalseg_ct_cropped.nii.gz", "totalseg_example_ct.nii.gz"])
def test_nifti_equals_nibabel(real_data, name):
    volume, meta = read_volume(real_data / "ct" / name)
    reference = nib.as_closest_canonical(nib.load(real_data / "ct" / name))
    np.testing.assert_array_equal(volume[0], reference.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(meta["affine"], reference.affine)
    np.testing.assert_allclose(meta["spacing_mm"], reference.header.get_zooms()[:3], rtol=1e-5)
    assert nib.aff2axcodes(meta["affine"]) == ("R", "A", "S")
    assert volume.min() <= -900
    assert 0 < volume.max() <= 4096


@pytest.mark.real_data
def test_nifti_equals_simpleitk_at_points_in_space(real_data):
    path = real_data / "ct" / "totalseg_ct_cropped.nii.gz"
    volume, meta = read_volume(path)
    reference = sitk.ReadImage(str(path))
    for index in np.random.default_rng(0).integers(0, volume.shape[1:], (50, 3)):
        ras = meta["affine"] @ [*index, 1]
        there = reference.TransformPhysicalPointToIndex([-ras[0], -ras[1], ras[2]])
        assert volume[0][tuple(index)] == pytest.approx(reference[there])


@pytest.mark.real_data
def test_single_slices_equal_simpleitk(real_data):
    for name in ("lungmask_0.dcm", "lungmask_1.dcm"):
        volume, meta = read_volume(real_data / "ct" / name)
        assert volume.shape == (1, 512, 512, 1)
        reference = sitk.GetArrayFromImage(sitk.ReadImage(str(real_data / "ct" / name)))[0]
        # LPS → RAS turns both axes of an axial slice; numpy's rows are y. Outside the field of view is -2048.
        reference = np.where(reference == -2048, -1000, reference)
        np.testing.assert_array_equal(volume[0, ..., 0], reference.T[::-1, ::-1])
        np.testing.assert_allclose(meta["spacing_mm"], [0.625, 0.625, 1.0])
        assert (meta["Modality"], meta["space"]) == ("", "RAS")  # these files lack Modality


@pytest.mark.real_data
def test_two_slices_make_a_volume(real_data, tmp_path):
    for new, old in {"b.dcm": "lungmask_0.dcm", "a.dcm": "lungmask_1.dcm"}.items():
        (tmp_path / new).symlink_to(real_data / "ct" / old)
    volume, meta = read_volume(tmp_path)
    assert volume.shape == (1, 512, 512, 2)
    for k, name in enumerate(("lungmask_0.dcm", "lungmask_1.dcm")):
        np.testing.assert_array_equal(volume[..., k], read_volume(real_data / "ct" / name)[0][..., 0])
    np.testing.assert_allclose(meta["spacing_mm"], [0.625, 0.625, 1.0])


@pytest.mark.slow
@pytest.mark.real_data
def test_a_series_in_jpeg_lossless_equals_simpleitk(real_data):
    folder = real_data / "ct-md" / "dicom" / "P001"
    volume, meta = read_volume(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    reference = reader.Execute()
    np.testing.assert_array_equal(volume[0, ::-1, ::-1], sitk.GetArrayFromImage(reference).T)
    np.testing.assert_allclose(meta["spacing_mm"], reference.GetSpacing())
    first = meta["affine"] @ [volume.shape[1] - 1, volume.shape[2] - 1, 0, 1]
    np.testing.assert_allclose(first[:3] * [-1, -1, 1], reference.GetOrigin())


def test_a_series_equals_simpleitk_at_points_in_space(tmp_path):
    write_slices(make_slices(axes=oblique(20)), tmp_path / "series")
    volume, meta = read_volume(tmp_path / "series")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    reference = reader.Execute()
    for index in np.ndindex(volume.shape[1:]):
        ras = meta["affine"] @ [*index, 1]
        there = reference.TransformPhysicalPointToIndex([-ras[0], -ras[1], ras[2]])
        assert volume[0][index] == reference[there]
    assert nib.aff2axcodes(meta["affine"]) == ("R", "A", "S")


def test_metadata_has_always_the_same_keys(tmp_path):
    nib.save(nib.Nifti1Image(HU.astype(np.int16), np.eye(4)), tmp_path / "ct.nii")
    _, of_series = read_volume(write_slices(make_slices(), tmp_path / "series"))
    _, of_nifti = read_volume(tmp_path / "ct.nii")
    assert of_series.keys() == of_nifti.keys()
    assert (of_series["PatientID"], of_nifti["PatientID"], of_nifti["space"]) == ("P7", "", "RAS")
    assert all(value is not None for value in (*of_series.values(), *of_nifti.values()))


def test_monai_windows_nothing_and_keeps_the_channel(tmp_path):
    write_slices(make_slices(), tmp_path / "series")
    volume, _ = read_volume(tmp_path / "series")
    loaded = LoadImaged(keys="image", reader=VolumeReader)({"image": tmp_path / "series"})["image"]
    np.testing.assert_array_equal(EnsureChannelFirst()(loaded).numpy(), volume)
    np.testing.assert_allclose(loaded.pixdim.numpy(), [0.7, 0.9, 2.5], atol=1e-5)
    uid = make_slices()[0].SeriesInstanceUID
    with pytest.raises(UnreadableImage, match="no series"):
        LoadImage(reader=VolumeReader(series_uid=uid))(tmp_path / "series")


def test_monai_passes_a_refusal_on(tmp_path):
    slices = make_slices()
    del slices[2]
    write_slices(slices, tmp_path / "series")
    with pytest.raises(
        RefusedImage, match=r"^series: There are 5\.00 mm between .*slices are missing"
    ) as caught:
        LoadImage(reader=VolumeReader)(tmp_path / "series")
    assert caught.value.reason is RefusalReason.UNSOUND_GEOMETRY


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_slices(tmp_path, syntax, signed):
    hu = np.kron(HU, np.ones((1, 4, 4))).astype(int)
    slices = make_slices(hu)
    for ds, slice_hu in zip(slices, hu, strict=True):
        set_hu(ds, slice_hu, bits=16, signed=signed, intercept=0 if signed else -1024)
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.compress(syntax)
    check_volume(write_slices(slices, tmp_path / "series"), hu)


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs DCMTK")
@pytest.mark.parametrize(
    "command", [["dcmcjpeg", "+e1"], ["dcmconv", "+tb"], ["dcmconv", "+td"], ["dcmconv", "+ti"]]
)
def test_encodings_of_dcmtk(tmp_path, command):
    folder = write_slices(make_slices(), tmp_path / "series")
    for path in folder.iterdir():
        subprocess.run([*command, path, path], check=True, capture_output=True)
    check_volume(folder, HU)


@pytest.mark.parametrize("lost", [1, 100, 240])
def test_a_truncated_slice_is_named(tmp_path, lost):
    folder = write_slices(make_slices(), tmp_path / "series")
    (folder / "03.dcm").write_bytes((folder / "03.dcm").read_bytes()[:-lost])
    told = rf"^series: 03\.dcm: PixelData has {240 - lost} of 240 bytes: the file is truncated"
    with pytest.raises(UnreadableImage, match=told):
        read_volume(folder)


def test_a_truncated_codestream_is_named(tmp_path):
    folder = write_slices(make_slices(), tmp_path / "series")
    ds = pydicom.dcmread(folder / "03.dcm")
    ds.compress(RLELossless)
    ds.save_as(folder / "03.dcm")
    (folder / "03.dcm").write_bytes((folder / "03.dcm").read_bytes()[:-60])
    with pytest.raises(UnreadableImage, match=r"^series: 03\.dcm: .*Fetch it from its source again"):
        read_volume(folder)


@pytest.mark.parametrize("keyword", ["PixelData", "BitsAllocated"])
def test_a_slice_without_pixels_is_named(tmp_path, keyword):
    slices = make_slices()
    del slices[2][keyword]
    with pytest.raises(
        (RefusedImage, UnreadableImage), match=r"^series: \d\d\.dcm: .*pixel data|BitsAllocated"
    ):
        read_volume(write_slices(slices, tmp_path / "series"))


def test_too_many_voxels(tmp_path):
    slices = make_slices()
    for ds in slices:
        ds.Rows = ds.Columns = 60000
    assert refused(write_slices(slices, tmp_path / "series"), "60000 x 60000 x 6") is RefusalReason.TOO_LARGE


def test_not_readable(tmp_path):
    (tmp_path / "cut.nii.gz").write_bytes(b"\x1f\x8b nothing")
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "empty").mkdir()
    causes = {
        "none.nii": "no such",
        "cut.nii.gz": "truncated or damaged",
        "cut.dcm": "truncated or damaged",
        "empty": "no DICOM image",
    }
    for name, cause in causes.items():
        with pytest.raises(UnreadableImage, match=f"{name}.*{cause}"):
            read_volume(tmp_path / name)


def test_the_suffix_does_not_make_a_nifti(tmp_path):
    folder = write_slices(make_slices()[:1], tmp_path / "series")
    (folder / "00.dcm").rename(tmp_path / "slice.nii")
    assert read_volume(tmp_path / "slice.nii")[0].shape == (1, COLUMNS, ROWS, 1)
