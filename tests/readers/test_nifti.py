"""NIfTI volumes against nibabel: what is read, and what cannot be Hounsfield units or has no sound place."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.readers import read_volume

NO_HU, UNSOUND = RefusalReason.NOT_HOUNSFIELD, RefusalReason.UNSOUND_GEOMETRY
SEVERAL = RefusalReason.SEVERAL_VOLUMES
AFFINE = np.array([[-0.7, 0, 0, 10], [0, 0.8, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
UNITS_BYTE, SLOPE_BYTES, SFORM_BYTES, QUATERNION_BYTES = (
    123,
    slice(112, 120),
    slice(280, 328),
    slice(256, 268),
)


def field():
    hu = np.random.default_rng(0).integers(-1000, 1500, (20, 22, 8)).astype(np.int16)
    hu[:5] = -1000
    return hu


HU = field()


def write(path, values=HU, *, affine=AFFINE, sform=None, codes=(1, 1), kind=nib.Nifti1Image, edit=None):
    image = kind(values, affine)
    image.set_sform(affine if sform is None else sform, codes[0])
    image.set_qform(affine, codes[1])
    nib.save(image, path)
    if edit is not None:
        where, content = edit
        header = bytearray(path.read_bytes())
        header[where] = content if isinstance(where, int) else np.asarray(content, "<f4").tobytes()
        path.write_bytes(bytes(header))
    return path


def check(path, expected=HU, affine=AFFINE):
    volume, meta = read_volume(path)
    reference = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(expected, np.float32), affine))
    np.testing.assert_allclose(volume[0], reference.get_fdata(), atol=1e-4)
    np.testing.assert_allclose(meta["affine"], reference.affine, atol=1e-4)
    np.testing.assert_allclose(meta["spacing_mm"], nib.affines.voxel_sizes(reference.affine), atol=1e-5)


def refused(path, told):
    with pytest.raises(RefusedImage, match=f"^{path.name}: .*{told}") as caught:
        read_volume(path)
    return caught.value.reason


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "CT.NII"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_containers(tmp_path, name, kind, dtype):
    check(write(tmp_path / name, HU.astype(dtype), kind=kind))


@pytest.mark.parametrize("code", [(1, 0), (0, 1), (2, 1), (4, 4)])
def test_either_form_is_enough(tmp_path, code):
    check(write(tmp_path / "ct.nii", codes=code))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16])
def test_scaled_values(tmp_path, dtype):
    image = nib.Nifti1Image(HU.astype(np.float64), AFFINE)
    image.set_data_dtype(dtype)
    nib.save(image, tmp_path / "ct.nii")
    check(tmp_path / "ct.nii", nib.load(tmp_path / "ct.nii").get_fdata())


@pytest.mark.parametrize("scaling", [(0, 0), (np.nan, np.nan), (0, 5)])
def test_no_scaling(tmp_path, scaling):
    check(write(tmp_path / "ct.nii", edit=(SLOPE_BYTES, scaling)))


def test_a_slope_and_an_intercept(tmp_path):
    halved = ((HU + 1000) // 2).astype(np.int16)
    check(write(tmp_path / "ct.nii", halved, edit=(SLOPE_BYTES, (2, -1000))), HU // 2 * 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    hu = HU.astype(np.float32)
    hu[:2] = value
    assert refused(write(tmp_path / "ct.nii", hu), "NaN or infinity stands in 352 voxels") is NO_HU


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (HU.view(np.uint16), "The highest value is 6"),
        ((HU + 1024).astype(np.uint16), "the lowest is 24"),
        ((HU + 1000).astype(np.int16), "the lowest is 0"),
        (np.where(HU < 0, HU + 4096, HU), "Hardly any value"),
        ((HU > 0).astype(np.uint8), "Hardly any value"),
        (HU.astype(np.complex64), "complex64"),
        (np.zeros(HU.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]), "one real number"),
    ],
)
def test_values_that_cannot_be_hounsfield_units(tmp_path, values, told):
    assert refused(write(tmp_path / "ct.nii", values), told) is NO_HU


def test_a_shift_is_seen_beside_padding_and_through_noise(tmp_path):
    shifted = HU + 1000 + np.random.default_rng(1).normal(0, 30, HU.shape).astype(np.int16)
    shifted[:2] = -2000
    assert refused(write(tmp_path / "ct.nii", shifted), "Hardly any value") is NO_HU


def test_a_shift_is_seen_where_padding_looks_like_air(tmp_path):
    shifted = HU + 1024
    shifted[:2] = -1024
    assert refused(write(tmp_path / "ct.nii", shifted), "the lowest is -1024") is NO_HU


@pytest.mark.parametrize("shift", [1000, 1024])
def test_an_intercept_that_was_subtracted_twice(tmp_path, shift):
    chest = np.random.default_rng(1).normal(-800, 80, HU.shape).astype(np.int16)
    chest[10:] += 840  # tissue beside the lung
    check(write(tmp_path / "right.nii", chest), chest)
    assert refused(write(tmp_path / "ct.nii", chest - shift), "subtracted twice") is NO_HU


@pytest.mark.parametrize("padding", [-2000, -2048, -3024, -32768])
def test_padding_becomes_air(tmp_path, padding):
    hu, expected = HU.copy(), HU.copy()
    hu[:2], expected[:2] = padding, -1000
    check(write(tmp_path / "ct.nii", hu), expected)


def test_shapes(tmp_path):
    path = tmp_path / "ct.nii"
    check(write(path, HU[..., None]))
    check(write(path, HU[:, :, :1]), HU[:, :, :1])
    assert refused(write(path, np.stack([HU, HU], -1)), "one 3D volume") is SEVERAL
    assert refused(write(path, np.stack([HU] * 3, -1)[:, :, :, None]), "one 3D volume") is SEVERAL
    assert refused(write(path, HU[:, :, 0]), "one 3D volume") is UNSOUND


def test_no_orientation_at_all(tmp_path):
    assert refused(write(tmp_path / "ct.nii", codes=(0, 0)), "sform_code and qform_code are 0") is UNSOUND


@pytest.mark.parametrize(
    "change", [np.diag([-1, 1, 1, 1]), [[1, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]
)
def test_forms_must_agree(tmp_path, change):
    other = np.asarray(change) @ AFFINE
    assert refused(write(tmp_path / "ct.nii", sform=other), "disagree") is UNSOUND
    check(write(tmp_path / "ct.nii", sform=other, codes=(0, 1)))
    check(write(tmp_path / "ct.nii", sform=other, codes=(1, 0)), affine=other)


def test_forms_may_differ_by_rounding(tmp_path):
    moved = AFFINE.copy()
    moved[:3, 3] += 0.01
    check(write(tmp_path / "ct.nii", sform=moved), affine=moved)


@pytest.mark.parametrize(
    ("sform", "told"),
    [
        ([[0.7, 0, 0, 0], [0, 0, 0, 0], [0, 0, 3, 0]], "A voxel measures 0.7 x 0 x 3 mm"),
        ([[np.nan, 0, 0, 0], [0, 0.8, 0, 0], [0, 0, 3, 0]], "A voxel measures nan"),
        ([[0.7, 0, 0, 0], [0, 0.8, 0.8, 0], [0, 0, 3, 0]], "tilted gantry"),
        ([[0.7, 0.3, 0, 0], [0, 0.8, 0, 0], [0, 0, 3, 0]], "sheared"),
    ],
)
def test_an_unsound_affine(tmp_path, sform, told):
    path = write(tmp_path / "ct.nii", codes=(1, 0), edit=(SFORM_BYTES, sform))
    assert refused(path, told) is UNSOUND


def test_an_invalid_quaternion(tmp_path):
    for codes in ((0, 1), (1, 1)):
        path = write(tmp_path / "ct.nii", codes=codes, edit=(QUATERNION_BYTES, (1, 1, 1)))
        with pytest.raises(
            (RefusedImage, UnreadableImage), match=r"^ct\.nii: (The quaternion|This is no whole)"
        ):
            read_volume(path)


@pytest.mark.parametrize(("unit", "mm"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (10, 1)])
def test_units_of_length(tmp_path, unit, mm):
    stored = np.diag([1 / mm, 1 / mm, 1 / mm, 1]) @ AFFINE
    check(write(tmp_path / "ct.nii", affine=stored, edit=(UNITS_BYTE, unit)))


@pytest.mark.parametrize(
    ("unit", "told"), [(1, "measures 700 x 800 x 3000 mm"), (3, "measures 0.0007"), (5, "xyzt_units is 5")]
)
def test_units_that_cannot_be(tmp_path, unit, told):
    assert refused(write(tmp_path / "ct.nii", edit=(UNITS_BYTE, unit)), told) is UNSOUND


def test_damaged_and_misnamed_files(tmp_path):
    whole = write(tmp_path / "whole.nii").read_bytes()
    packed = gzip.compress(whole)
    files = {
        "cut.nii": whole[:-500],
        "header.nii": whole[:200],
        "empty.nii": b"",
        "cut.nii.gz": packed[:-300],
        "start.nii.gz": packed[:40],
        "packed.nii": packed,
        "plain.nii.gz": whole,
        "text.nii": b"nothing " * 100,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableImage, match=f"^{name}: This is no whole NIfTI file"):
            read_volume(tmp_path / name)
    for name in ("ct.dcm", "ct", "ct.img"):
        (tmp_path / name).write_bytes(whole)
        with pytest.raises(UnreadableImage, match=rf"^{name}: .*a NIfTI file \(\.nii, \.nii\.gz\)"):
            read_volume(tmp_path / name)
    nib.save(nib.AnalyzeImage(HU, AFFINE), tmp_path / "analyze.img")
    for suffix in ("img", "hdr"):
        with pytest.raises(UnreadableImage, match="no DICOM image"):
            read_volume(tmp_path / f"analyze.{suffix}")


def test_a_header_that_claims_too_much(tmp_path):
    path = write(tmp_path / "ct.nii")
    header = bytearray(path.read_bytes())
    header[42:48] = np.array([30000, 30000, 3000], "<i2").tobytes()
    path.write_bytes(bytes(header))
    assert refused(path, "30000 x 30000 x 3000 voxels") is RefusalReason.TOO_LARGE
