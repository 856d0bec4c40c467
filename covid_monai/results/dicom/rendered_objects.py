"""What people look at: the heat map as a Secondary Capture, the PDF report as an Encapsulated PDF."""

from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset, FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from covid_monai.dicom.elements import get_numbers, get_text
from covid_monai.results.dicom.result_series import ResultSeries
from covid_monai.results.rendering import RgbImage

_LOSSLESS = tuple(f"1.2.840.10008.1.2.4.{last}" for last in (57, 70, 80, 90, 92, 110, 201, 202))


def make_secondary_capture(rendered: RgbImage, series: ResultSeries) -> FileDataset:
    """Wrap a colour image that was rendered from a radiograph, in a form that every viewer shows.

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
        **series.arguments(),
    )
    image.ConversionType = "WSD"
    image.PatientOrientation = _orientation(source.ds)
    image.DerivationDescription = "Grad-CAM heat map over the image as displayed, with a legend"
    item = _reference_item(source.reference)
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
    image.SourceImageSequence = [item]
    _add_lossy_history(image, source.ds)
    # The legend names no patient; only the header of the image says whether its pixels do.
    if get_text(source.ds, "BurnedInAnnotation") in ("YES", "NO"):
        image.BurnedInAnnotation = get_text(source.ds, "BurnedInAnnotation")
    image.BodyPartExamined = "CHEST"
    return series.complete(image)


def encapsulate_pdf(content: bytes, series: ResultSeries) -> FileDataset:
    """Wrap a PDF file about a radiograph.

    Reference: DICOM PS3.3 A.45.1 (Encapsulated PDF), C.24.2 (Encapsulated Document).
    """
    document = Dataset()
    document.SOPClassUID, document.Modality = EncapsulatedPDFStorage, "DOC"
    for name, value in series.arguments().items():  # highdicom's classes set these for the other objects
        words = (word.upper() if word in ("sop", "uid") else word.title() for word in name.split("_"))
        setattr(document, "".join(words), value)
    document.ConversionType = "WSD"
    document.ContentDate = document.ContentTime = document.AcquisitionDateTime = None
    document.DocumentTitle = "Chest radiograph: automatic classification (research, not for diagnosis)"
    document.ConceptNameCodeSequence = []
    document.BurnedInAnnotation = "YES"  # it names the patient
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.SourceInstanceSequence = [_reference_item(series.source.reference)]
    document.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    document.EncapsulatedDocumentLength = len(content)
    return series.complete(document)


def _reference_item(reference: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.SOPClassUID
    item.ReferencedSOPInstanceUID = reference.SOPInstanceUID
    return item


def _orientation(ds: Dataset) -> list[str]:
    """Return the Patient Orientation of the image, which is also that of the rendering; empty if unknown."""
    found = [part.strip(" '[]") for part in get_text(ds, "PatientOrientation").split(",")]
    known = len(found) == 2 and all(part and set(part) <= set("ALRPHF") for part in found)
    return found if known else []


def _add_lossy_history(image: Dataset, ds: Dataset) -> None:
    """Copy that the image was compressed with loss: its rendering then is lossy too (PS3.3 C.7.6.1.1.5)."""
    syntax = get_text(ds.file_meta, "TransferSyntaxUID")
    lossy = syntax.startswith("1.2.840.10008.1.2.4.") and syntax not in _LOSSLESS
    if get_text(ds, "LossyImageCompression") != "01" and not lossy:
        image.LossyImageCompression = "00"
        return
    image.LossyImageCompression = "01"
    if ratios := get_numbers(ds, "LossyImageCompressionRatio"):
        image.LossyImageCompressionRatio = ratios
    method = get_text(ds, "LossyImageCompressionMethod")
    if method in ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1"):
        image.LossyImageCompressionMethod = method
