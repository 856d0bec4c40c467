"""A colour image as a Secondary Capture, which every viewer shows."""

from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset, FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from covid_monai.dicom.elements import get_numbers, get_text
from covid_monai.results.dicom.result_series import ResultSeries
from covid_monai.results.rendering import RgbImage

_LOSSY = "1.2.840.10008.1.2.4."
_LOSSLESS = ("57", "70", "80", "90", "92", "110", "201", "202")


def make_secondary_capture(rendered: RgbImage, series: ResultSeries) -> FileDataset:
    """Wrap a colour image that was rendered from a radiograph.

    Args:
        rendered: Shape [H, W, 3], RGB.
        series: Series of kind heat map.

    Reference: DICOM PS3.3 A.8.1 (Secondary Capture Image), C.7.6.1 (General Image).
    """
    source = series.source
    image = SCImage.from_ref_dataset(
        ref_dataset=source.reference,
        pixel_array=rendered,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_date=source.date,
        content_time=source.time,
        **series.arguments(),
    )
    del image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture  # the time of day would not repeat
    image.ConversionType = "WSD"
    image.PatientOrientation = _orientation(source.ds)
    image.DerivationDescription = "Grad-CAM heat map over the image as displayed, with a legend"
    image.SourceImageSequence = [_source_item(source.reference)]
    _add_lossy_history(image, source.ds)
    # The legend names no patient; only the header of the image says whether its pixels do.
    if get_text(source.ds, "BurnedInAnnotation") in ("YES", "NO"):
        image.BurnedInAnnotation = get_text(source.ds, "BurnedInAnnotation")
    image.BodyPartExamined = "CHEST"
    return series.complete(image)


def _source_item(reference: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.SOPClassUID
    item.ReferencedSOPInstanceUID = reference.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [
        CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    return item


def _orientation(ds: Dataset) -> list[str]:
    """Return the Patient Orientation of the image, which is also that of the rendering; empty if unknown."""
    found = [part.strip(" '[]") for part in get_text(ds, "PatientOrientation").split(",")]
    known = len(found) == 2 and all(part and set(part) <= set("ALRPHF") for part in found)
    return found if known else []


def _add_lossy_history(image: Dataset, ds: Dataset) -> None:
    """Copy that the image was compressed with loss: its rendering then is lossy too (PS3.3 C.7.6.1.1.5)."""
    if get_text(ds, "LossyImageCompression") == "01" or _is_lossy(
        get_text(ds.file_meta, "TransferSyntaxUID")
    ):
        image.LossyImageCompression = "01"
        ratios = get_numbers(ds, "LossyImageCompressionRatio")
        if ratios:
            image.LossyImageCompressionRatio = ratios
        method = get_text(ds, "LossyImageCompressionMethod")
        if method in ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1"):
            image.LossyImageCompressionMethod = method
    else:
        image.LossyImageCompression = "00"


def _is_lossy(transfer_syntax: str) -> bool:
    return transfer_syntax.startswith(_LOSSY) and transfer_syntax.removeprefix(_LOSSY) not in _LOSSLESS
