"""Result objects as bytes, each with what it is."""

from io import BytesIO
from typing import NamedTuple

from pydicom import dcmwrite, uid
from pydicom.dataset import FileDataset

from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction


class ResultFile(NamedTuple):
    """A DICOM object about an image.

    Args:
        kind: As `covid_monai.results.ObjectKind`: report, heatmap, presentation_state, pdf.
        name: SOP Instance UID, with `.dcm`.
        data: The file.
    """

    kind: str
    name: str
    data: bytes


def result_files(
    classifier: Classifier, prediction: Prediction, *, heatmap: bool, pdf: bool
) -> list[ResultFile]:
    """The objects of an image; see `ResultObjects`.

    Args:
        classifier: The one that made the prediction.
        prediction: Its `file` is where the image can be read.
        heatmap: Whether to make heat map and outlines.
        pdf: Whether to make the page for a person.

    Raises:
        NoResultObjects: If the image is not DICOM, or lacks a UID that results must refer to.
        ImportError: If the extra `dicom` is not installed.
    """
    from covid_monai.results import ResultObjects

    return [_file(ds) for ds in ResultObjects(classifier, heatmap=heatmap, pdf=pdf).of(prediction)]


def _file(ds: FileDataset) -> ResultFile:
    from covid_monai.results import ObjectKind

    kinds = {
        uid.ComprehensiveSRStorage: ObjectKind.REPORT,
        uid.SecondaryCaptureImageStorage: ObjectKind.HEATMAP,
        uid.GrayscaleSoftcopyPresentationStateStorage: ObjectKind.PRESENTATION_STATE,
        uid.EncapsulatedPDFStorage: ObjectKind.PDF,
    }
    content = BytesIO()
    dcmwrite(content, ds, enforce_file_format=True)
    return ResultFile(kinds[ds.SOPClassUID], f"{ds.SOPInstanceUID}.dcm", content.getvalue())
