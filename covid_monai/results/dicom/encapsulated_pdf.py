"""A PDF file as a DICOM object."""

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import EncapsulatedPDFStorage

from covid_monai.results.dicom.result_series import ResultSeries


def encapsulate_pdf(content: bytes, series: ResultSeries) -> FileDataset:
    """Wrap a PDF file about a radiograph.

    Args:
        content: The PDF file.
        series: Series of kind PDF.

    Reference: DICOM PS3.3 A.45.1 (Encapsulated PDF), C.24.2 (Encapsulated Document).
    """
    document = Dataset()
    document.SOPClassUID, document.Modality = EncapsulatedPDFStorage, "DOC"
    _set_series(document, series)
    document.ConversionType = "WSD"
    document.ContentDate = document.ContentTime = document.AcquisitionDateTime = None
    document.DocumentTitle = "Chest radiograph: automatic classification (research, not for diagnosis)"
    document.ConceptNameCodeSequence = []
    document.BurnedInAnnotation = "YES"  # it names the patient
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    item = Dataset()
    item.ReferencedSOPClassUID = series.source.reference.SOPClassUID
    item.ReferencedSOPInstanceUID = series.source.reference.SOPInstanceUID
    document.SourceInstanceSequence = [item]
    document.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    document.EncapsulatedDocumentLength = len(content)
    return series.complete(document)


def _set_series(document: Dataset, series: ResultSeries) -> None:
    """Set the elements that highdicom's classes set for the other objects."""
    arguments = series.arguments()
    document.SeriesInstanceUID = arguments["series_instance_uid"]
    document.SeriesNumber, document.InstanceNumber = arguments["series_number"], arguments["instance_number"]
    document.SOPInstanceUID = arguments["sop_instance_uid"]
    document.SeriesDescription = arguments["series_description"]
    document.Manufacturer = arguments["manufacturer"]
    document.ManufacturerModelName = arguments["manufacturer_model_name"]
    document.SoftwareVersions = arguments["software_versions"]
    document.DeviceSerialNumber = arguments["device_serial_number"]
