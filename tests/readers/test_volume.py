"""CT volumes against nibabel and SimpleITK, and a synthetic oblique series whose answer is known."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from monai.transforms import EnsureChannelFirst, LoadImage, LoadImaged
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.readers import VolumeReader, read_volume

ROWS, COLUMNS, SLICES = 12, 10, 6


def rotation(degrees):
    """Row and column directions of a plane turned about two axes."""
    a, b = np.radians(degrees), np.radians(degrees / 2)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_z @ about_x


def write_series(
    folder, *, degrees=0.0, flipped=False, spacing=(0.7, 0.9, 2.5), skip=(), shear=0.0, **elements
):
    """Write a series under shuffled names; returns stored values `[slice, row, column]` and the LPS affine.

    The affine maps (column, row, slice) to mm.
    """
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 3000, (SLICES, ROWS, COLUMNS)).astype(np.uint16)
    axes = rotation(degrees)
    row_direction, column_direction = axes[:, 0] * (-1 if flipped else 1), axes[:, 1]
    normal = np.cross(row_direction, column_direction)
    origin = np.array([-30.0, 20.0, 100.0])
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k, name in zip(range(SLICES), rng.permutation(SLICES), strict=True):
        if k in skip:
            continue
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.PatientID, ds.InstanceNumber = "CT", "P7", str(name + 1)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = (
            ROWS,
            COLUMNS,
            1,
            "MONOCHROME2",
        )
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelSpacing = [str(spacing[1]), str(spacing[0])]
        ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = "5", "1", "-1024"
        position = origin + k * spacing[2] * normal + k * shear * column_direction
        ds.ImagePositionPatient = [f"{v:.6f}" for v in position]
        ds.ImageOrientationPatient = [f"{v:.6f}" for v in (*row_direction, *column_direction)]
        ds.PixelData = stored[k].tobytes()
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
        ds.save_as(folder / f"{name:02d}.dcm", enforce_file_format=True)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row_direction, column_direction, normal], axis=1) * spacing
    affine[:3, 3] = origin
    return stored, affine


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
        # LPS → RAS turns both axes of an axial slice; numpy's rows are y.
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


@pytest.mark.parametrize("degrees", [0.0, 20.0, 100.0])
@pytest.mark.parametrize("flipped", [False, True])
def test_shuffled_oblique_series(tmp_path, degrees, flipped):
    stored, lps = write_series(tmp_path, degrees=degrees, flipped=flipped)
    volume, meta = read_volume(tmp_path)
    assert nib.aff2axcodes(meta["affine"]) == ("R", "A", "S")
    ras = np.diag([-1, -1, 1, 1]) @ lps
    to_voxel = np.linalg.inv(meta["affine"])
    for k, row, column in np.ndindex(stored.shape):
        index = to_voxel @ ras @ [column, row, k, 1]
        np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
        assert volume[0][tuple(np.rint(index[:3]).astype(int))] == float(stored[k, row, column]) - 1024
    np.testing.assert_allclose(sorted(meta["spacing_mm"]), [0.7, 0.9, 2.5], atol=1e-5)


def test_monai_windows_nothing_and_keeps_the_channel(tmp_path):
    write_series(tmp_path / "series")
    volume, _ = read_volume(tmp_path / "series")
    loaded = LoadImaged(keys="image", reader=VolumeReader)({"image": tmp_path / "series"})["image"]
    np.testing.assert_array_equal(EnsureChannelFirst()(loaded).numpy(), volume)
    np.testing.assert_allclose(loaded.pixdim.numpy(), [0.7, 0.9, 2.5], atol=1e-5)


def test_several_series_are_named_and_one_can_be_chosen(tmp_path):
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", spacing=(1, 1, 1))
    with pytest.raises(UnreadableImage, match=r"2 series: .*6 slices.*series_uid=") as caught:
        read_volume(tmp_path)
    uids = [word for word in str(caught.value).split() if word.startswith("1.2.826")]
    assert len(uids) == 2
    spacings = {round(float(read_volume(tmp_path, series_uid=uid)[1]["spacing_mm"][2]), 3) for uid in uids}
    assert spacings == {1.0, 2.5}
    loaded = LoadImage(reader=VolumeReader(series_uid=uids[0]))(tmp_path)
    assert loaded.shape == (1, COLUMNS, ROWS, SLICES)
    with pytest.raises(UnreadableImage, match=r"no series 1\.2\.3"):
        read_volume(tmp_path, series_uid="1.2.3")


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"skip": (2,)}, "5.00 mm between .*slices are missing"),
        ({"shear": 0.5}, "tilted gantry"),
        ({"Modality": "MR"}, "Modality is MR"),
    ],
)
def test_irregular_series_are_refused_by_cause(tmp_path, options, cause):
    write_series(tmp_path / "series", **options)
    with pytest.raises(UnreadableImage, match=f"series: .*{cause}"):
        LoadImage(reader=VolumeReader)(tmp_path / "series")


def test_duplicated_slice(tmp_path):
    write_series(tmp_path)
    (tmp_path / "copy.dcm").write_bytes((tmp_path / "03.dcm").read_bytes())
    with pytest.raises(UnreadableImage, match=r"one position.*Remove the duplicate"):
        read_volume(tmp_path)


def test_other_files_beside_a_series(tmp_path):
    write_series(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    assert read_volume(tmp_path)[0].shape == (1, COLUMNS, ROWS, SLICES)


def test_not_readable(tmp_path):
    (tmp_path / "cut.nii.gz").write_bytes(b"\x1f\x8b nothing")
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM")
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 2), np.float32), np.eye(4)), tmp_path / "time.nii")
    causes = {
        "none.nii": "no such",
        "cut.nii.gz": "cannot",
        "cut.dcm": "truncated or damaged",
        "time.nii": "one 3D",
    }
    for name, cause in causes.items():
        with pytest.raises(UnreadableImage, match=f"{name}.*{cause}"):
            read_volume(tmp_path / name)
