"""Phantom files: DICOM (CR, DX, CT), JPEG, PNG and NIfTI, each labelled as synthetic."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import validate_file_meta
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from covid_monai.phantoms.ct_volume import CT_SPACING_MM

SUFFIXES = {"cr": ".dcm", "dx": ".dcm", "jpeg": ".jpg", "png": ".png", "png16": ".png"}
SYNTHETIC = "Synthetic phantom, drawn by a computer program: not a patient, not for diagnosis"
_ELEMENTS = yaml.safe_load(resources.files(__package__).joinpath("elements.yaml").read_text("utf-8"))
_DETECTOR_MM = 350.0  # side of the square detector
_BLACK, _WHITE = 200, 3800  # of 0 to 4095: a detector does not reach the ends of its range
_VIEW_CODES = {"PA": ("272479007", "Postero-anterior"), "AP": ("399348003", "Antero-posterior")}


@dataclass(frozen=True)
class PhantomPatient:
    """The imaginary person whom a phantom shows."""

    patient_id: str  # for example PHANTOM-0001
    sex: str  # F or M
    age: int  # years
    seed: int  # determines the drawing and all UIDs

    def uid(self, *parts: object) -> UID:
        """Return a UID that depends only on this patient and `parts`."""
        return generate_uid(entropy_srcs=["covid-monai phantom", repr(self), *map(str, parts)])


def radiograph_dataset(
    image: NDArray[np.float32], patient: PhantomPatient, *, number: int, view: str, inverted: bool = False
) -> FileDataset:
    """Return an image [H, W] in [0, 1], bright bone, as a DICOM object of 12 bits.

    It is CR in MONOCHROME2, or if `inverted` DX in MONOCHROME1 with Presentation LUT Shape INVERSE. `number`
    counts the images of the patient from 1.

    Reference: DICOM PS3.3 A.2 (CR), A.26 (DX).
    """
    modality = "DX" if inverted else "CR"
    sop_class = DigitalXRayImageStorageForPresentation if inverted else ComputedRadiographyImageStorage
    stored = np.rint(_BLACK + np.clip(image, 0, 1) * (_WHITE - _BLACK)).astype(np.uint16)
    if inverted:
        stored = 4095 - stored
    ds = _new_dataset(patient, sop_class, modality=modality, series=number, stored=stored)
    ds.ViewPosition = view
    ds.ImagerPixelSpacing = [round(_DETECTOR_MM / count, 4) for count in image.shape]
    # PS3.3 C.11.2.1.2.1: the window [_BLACK, _WHITE] maps to [0, 1] with this centre and width.
    center, width = (_BLACK + _WHITE + 1) / 2, _WHITE - _BLACK + 1
    ds.WindowCenter, ds.WindowWidth = (4096 - center if inverted else center), width
    if inverted:
        ds.AnatomicRegionSequence = [_code("51185008", "Chest")]
        ds.ViewCodeSequence = [_code(*_VIEW_CODES[view])]
        ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
    return ds


def _ct_slice_dataset(
    slice_hu: NDArray[np.int16], patient: PhantomPatient, *, number: int, position_mm: list[float]
) -> FileDataset:
    stored = (slice_hu - _ELEMENTS["CT"]["RescaleIntercept"]).astype(np.uint16)
    ds = _new_dataset(patient, CTImageStorage, modality="CT", series=1, stored=stored)
    ds.InstanceNumber, ds.ImagePositionPatient = number, position_mm
    ds.FrameOfReferenceUID = patient.uid("frame of reference")
    width, height, depth = CT_SPACING_MM
    ds.PixelSpacing, ds.SliceThickness = [height, width], depth
    return ds


def _new_dataset(
    patient: PhantomPatient, sop_class: UID, *, modality: str, series: int, stored: NDArray[np.uint16]
) -> FileDataset:
    """Return an object with the modules that all share: patient, study, series, equipment, SOP, pixels."""
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # computed when the file is written
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    digest = hashlib.sha256(stored.tobytes()).hexdigest()
    meta.MediaStorageSOPInstanceUID = patient.uid("instance", modality, stored.shape, digest)
    validate_file_meta(meta, enforce_standard=True)
    # The encoding goes to the constructor: pydicom 2.4 needs it there, and pydicom 3 takes it.
    ds = FileDataset("", {}, preamble=bytes(128), file_meta=meta, is_implicit_VR=False, is_little_endian=True)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    for keyword, value in (_ELEMENTS["all"] | _ELEMENTS[modality]).items():
        setattr(ds, keyword, value)
    ds.Modality, ds.ImageComments, ds.DerivationDescription = modality, SYNTHETIC, SYNTHETIC
    ds.PatientID, ds.PatientSex, ds.PatientAge = patient.patient_id, patient.sex, f"{patient.age:03d}Y"
    ds.StudyInstanceUID = patient.uid("study", modality)
    ds.SeriesInstanceUID, ds.SeriesNumber = patient.uid("series", modality, series), series
    ds.Rows, ds.Columns = stored.shape
    ds.PixelData = np.ascontiguousarray(stored, dtype="<u2").tobytes()
    return ds


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def write_radiograph(
    image: NDArray[np.float32],
    path: Path,
    patient: PhantomPatient,
    *,
    file_format: str,
    number: int,
    view: str,
) -> None:
    """Write an image [H, W] in [0, 1], bright bone, in one of the formats of `SUFFIXES`."""
    if file_format in ("cr", "dx"):
        inverted = file_format == "dx"
        radiograph_dataset(image, patient, number=number, view=view, inverted=inverted).save_as(path)
        return
    dtype = np.uint16 if file_format == "png16" else np.uint8
    picture = Image.fromarray(np.rint(image * np.iinfo(dtype).max).astype(dtype))
    if file_format == "jpeg":
        exif = Image.Exif()
        exif[ExifTags.Base.ImageDescription] = SYNTHETIC
        picture.save(path, quality=95, comment=SYNTHETIC, exif=exif)
    else:
        text = PngInfo()
        text.add_text("Description", SYNTHETIC)
        # Noise does not compress: the fastest level gives files 3 % larger in a fifth of the time.
        picture.save(path, pnginfo=text, compress_level=1)


def write_volume(volume_hu: NDArray[np.int16], folder: Path, patient: PhantomPatient) -> None:
    """Write a volume `[X, Y, Z]` (RAS, HU), with its origin in the middle, as NIfTI and as a DICOM series."""
    affine = np.diag([*CT_SPACING_MM, 1.0])
    x, y, z = ((1 - np.array(volume_hu.shape)) / 2 * CT_SPACING_MM).tolist()
    affine[:3, 3] = x, y, z
    image = nib.Nifti1Image(volume_hu, affine)
    image.header["descrip"] = SYNTHETIC[:79]  # the field holds 80 bytes
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / f"{patient.patient_id}.nii.gz")
    series = folder / patient.patient_id
    series.mkdir()
    for index in range(volume_hu.shape[2]):
        slice_hu = volume_hu[::-1, ::-1, index].T  # RAS to LPS
        position_mm = [x, y, z + index * CT_SPACING_MM[2]]  # x and y are the same in LPS
        ds = _ct_slice_dataset(slice_hu, patient, number=index + 1, position_mm=position_mm)
        ds.save_as(series / f"{patient.patient_id}-{index + 1:03d}.dcm")
