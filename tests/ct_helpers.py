"""CT series that tests make, classic and enhanced, whose Hounsfield units and place in space are known."""

from copy import deepcopy

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from covid_monai.core.vocabulary import RefusedImage
from covid_monai.readers import read_volume

ROWS, COLUMNS, SLICES = 12, 10, 6
SPACING = (0.7, 0.9, 2.5)  # columns, rows, slices
ORIGIN = np.array([-30.0, 20.0, 100.0])
AXIAL = np.eye(3)  # columns: directions of rows, of columns, and of slices, in DICOM's LPS
SAGITTAL = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float)
CORONAL = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
INTERCEPT = -1024


def oblique(degrees):
    """Axes of a plane turned about two axes."""
    a, b = np.radians(degrees), np.radians(degrees / 2)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_z @ about_x


def field_hu(slices=SLICES):
    """A volume `[slice, row, column]` of whole HU in which no value is frequent."""
    return np.random.default_rng(0).integers(-1000, 1900, (slices, ROWS, COLUMNS))


def lps_affine(axes=AXIAL, spacing=SPACING):
    """Return the affine from (column, row, slice) to mm in LPS."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * spacing, ORIGIN
    return affine


def position(k, axes=AXIAL, spacing=SPACING):
    return [f"{v:.6f}" for v in ORIGIN + k * spacing[2] * axes[:, 2]]


def set_hu(ds, hu, *, slope=1, intercept=INTERCEPT, bits=12, signed=False, shift=0):
    """Store a slice `[row, column]` in HU."""
    stored = np.rint((hu - intercept) / slope).astype(np.int16 if signed else np.uint16)
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1 + shift
    ds.PixelRepresentation = int(signed)
    codes = stored.view(np.uint16) & (2**bits - 1)
    ds.add_new("PixelData", "OW", (codes << shift).astype("<u2").tobytes())


def make_slices(hu=None, *, axes=AXIAL, spacing=SPACING):
    """Return the slices of a classic series, in the order of their positions."""
    hu = field_hu() if hu is None else hu
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    slices = []
    for k, slice_hu in enumerate(hu):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.PatientID, ds.PatientName, ds.InstanceNumber = "CT", "P7", "Doe^Jane", str(k + 1)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.Rows, ds.Columns, ds.SamplesPerPixel = *slice_hu.shape, 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.PixelSpacing, ds.SliceThickness = [f"{spacing[1]}", f"{spacing[0]}"], "5"
        ds.ImagePositionPatient = position(k, axes, spacing)
        ds.ImageOrientationPatient = [f"{v:.6f}" for v in (*axes[:, 0], *axes[:, 1])]
        set_hu(ds, slice_hu)
        slices.append(ds)
    return slices


def write_slices(slices, folder):
    """Write slices under shuffled names without suffix order."""
    folder.mkdir(exist_ok=True)
    names = np.random.default_rng(1).permutation(len(slices))
    for ds, name in zip(slices, names, strict=True):
        ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(folder / f"{name:02d}.dcm", enforce_file_format=True)
    return folder


def make_enhanced(hu=None, *, axes=AXIAL, order=None, shared=("measures", "orientation", "rescale")):
    """Return an enhanced multi-frame object; `order` lists the slices as they follow in the file.

    `shared` names the functional groups that all frames share; the others are repeated in every frame.
    """
    hu = field_hu() if hu is None else hu
    slices = make_slices(hu, axes=axes)
    order = range(len(hu)) if order is None else order
    ds = deepcopy(slices[0])
    for keyword in (
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
        *("RescaleSlope", "RescaleIntercept", "InstanceNumber"),
    ):
        del ds[keyword]
    ds.SOPClassUID, ds.ImageType = EnhancedCTImageStorage, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.NumberOfFrames = len(order)
    ds.PixelData = b"".join(slices[k].PixelData for k in order)
    groups = [_groups(slices[k]) for k in order]
    ds.SharedFunctionalGroupsSequence = [_join(groups[0][name] for name in shared)]
    ds.PerFrameFunctionalGroupsSequence = [
        _join(part for name, part in group.items() if name not in shared) for group in groups
    ]
    return ds


def _groups(ds):
    """Return the functional groups of one slice by a short name."""
    macros = {
        "measures": ("PixelMeasuresSequence", "PixelSpacing", "SliceThickness"),
        "orientation": ("PlaneOrientationSequence", "ImageOrientationPatient"),
        "position": ("PlanePositionSequence", "ImagePositionPatient"),
        "rescale": ("PixelValueTransformationSequence", "RescaleSlope", "RescaleIntercept"),
        "content": ("FrameContentSequence",),
        "type": ("CTImageFrameTypeSequence",),
    }
    parts = {}
    for name, (sequence, *keywords) in macros.items():
        item = Dataset()
        for keyword in keywords:
            item[keyword] = deepcopy(ds[keyword])
        if name == "rescale":
            item.RescaleType = "HU"
        elif name == "content":
            item.StackID, item.InStackPositionNumber, item.TemporalPositionIndex = "1", 1, 1
            item.DimensionIndexValues = [1, int(ds.InstanceNumber)]
        elif name == "type":
            item.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        parts[name] = Dataset()
        setattr(parts[name], sequence, [item])
    return parts


def _join(parts):
    item = Dataset()
    for part in parts:
        item.update(part)
    return item


def save_enhanced(ds, path):
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return path


def check_volume(path, hu, *, axes=AXIAL, spacing=SPACING, atol=0.0):
    """Read a volume and check each value at its place in the patient; return its metadata."""
    volume, meta = read_volume(path)
    assert volume.shape[0] == 1
    assert volume.dtype == np.float32
    assert volume.size == np.size(hu)
    ras = np.diag([-1, -1, 1, 1]) @ lps_affine(axes, spacing)
    to_voxel = np.linalg.inv(meta["affine"]) @ ras
    k, row, column = np.indices(hu.shape)
    index = to_voxel @ np.stack([column.ravel(), row.ravel(), k.ravel(), np.ones(hu.size)])
    whole = np.rint(index[:3]).astype(int)
    np.testing.assert_allclose(index[:3], whole, atol=2e-3)
    np.testing.assert_allclose(volume[0][tuple(whole)], hu.ravel(), atol=atol)
    np.testing.assert_allclose(sorted(meta["spacing_mm"]), sorted(spacing), atol=1e-4)
    return meta


def refused(path, *words, **options):
    """Return the reason of a refusal whose message has these words, and no identity of the patient."""
    with pytest.raises(RefusedImage) as caught:
        read_volume(path, **options)
    message = str(caught.value)
    for word in (path.name, *words):
        assert word in message, message
    assert not any(word in message for word in ("Doe", "P7", "itk"))
    return caught.value.reason
