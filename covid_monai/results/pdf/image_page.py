"""The page of one image, whatever became of it: DICOM, JPEG, PNG, classified, refused or not readable."""

from datetime import UTC, datetime
from pathlib import Path

from pydicom.dataset import Dataset

from covid_monai.core.vocabulary import RefusedImage, UnreadableImage
from covid_monai.dicom.elements import get_text
from covid_monai.inference.classifier import Classifier
from covid_monai.inference.prediction import Prediction
from covid_monai.readers import read_radiograph
from covid_monai.readers.radiograph import read_header
from covid_monai.results.pdf.page import explained_pictures, page
from covid_monai.results.rendering import Picture, image_picture
from covid_monai.results.wording import shown_class

_LONGEST_NAME = 100  # letters of a file's name: more would push the result off the page


def image_page(classifier: Classifier, prediction: Prediction, path: str | Path | None = None) -> bytes:
    """Make the one-page PDF of an image.

    Args:
        classifier: The one that made the prediction.
        prediction: Of any status. What was refused or could not be read gets its reason and no finding.
        path: Where the image lies, if not at `prediction.file`, whose name the page shows.

    Returns:
        A PDF file of one page.

    Raises:
        UnreadableImage: If the file was classified and cannot be read any more.
        ValueError: If the network has no layer for Grad-CAM.
    """
    path = prediction.file if path is None else path
    header, today = _header(path), datetime.now(UTC).date()
    return page(
        prediction,
        _pictures(classifier, prediction, path),
        (header_facts(header) if header else {})
        | {"File": shortened(Path(prediction.file).name), "Report made": f"{today}"}
        | ({} if header else {"Patient": "not known: no DICOM header", "View": "not known"}),
        date=f"{today:%Y%m%d}",
        uid=get_text(header, "SOPInstanceUID") if header else "",
    )


def header_facts(ds: Dataset) -> dict[str, str]:
    """What tells whose image it is; values as they stand in the header."""
    return {
        "Patient": _name(ds),
        "Study date": _date(get_text(ds, "StudyDate")),
        "Patient ID": get_text(ds, "PatientID"),
        "Accession no.": get_text(ds, "AccessionNumber"),
        "Born": _date(get_text(ds, "PatientBirthDate")),
        "Study": get_text(ds, "StudyDescription"),
        "Sex": get_text(ds, "PatientSex"),
        "View": " ".join(filter(None, (get_text(ds, "Modality"), get_text(ds, "ViewPosition")))),
    }


def shortened(name: str) -> str:
    """A file's name without its middle where it is very long."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _header(path: str | Path) -> Dataset | None:
    """None where there is none: a JPEG or PNG picture, or a damaged file."""
    try:
        return read_header(path)
    except UnreadableImage:
        return None


def _pictures(classifier: Classifier, prediction: Prediction, path: str | Path) -> list[tuple[str, Picture]]:
    """Image and heat map; of what was not classified the image, if it can be shown."""
    if prediction.ok:
        return explained_pictures(prediction, classifier.explain(path, shown_class(prediction)))
    try:
        (image,), _ = read_radiograph(path)
    except (UnreadableImage, RefusedImage):
        return []
    return [("Image as displayed", image_picture(image))]


def _name(ds: Dataset) -> str:
    """Family name first; where there are several scripts, ideographic (alphabetic).

    PS3.5 6.2.1.1: alphabetic=ideographic=phonetic, each family^given^middle^prefix^suffix.
    """
    alphabetic, ideographic, *_ = (*get_text(ds, "PatientName").split("="), "")
    alphabetic, ideographic = (
        " ".join(part for part in name.split("^") if part) for name in (alphabetic, ideographic)
    )
    return f"{ideographic} ({alphabetic})" if ideographic and alphabetic else ideographic or alphabetic


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value
