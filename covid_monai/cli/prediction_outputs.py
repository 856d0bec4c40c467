"""What `covid-monai predict` writes beside its records: DICOM objects, and a PDF report."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage

if TYPE_CHECKING:
    from covid_monai.inference import Prediction
    from covid_monai.inference.classifier import Classifier


class PredictionOutput(Protocol):
    """An output that is written while the predictions are made."""

    def write_along(self, predictions: Iterator["Prediction"]) -> Iterator["Prediction"]:
        """Yield the same predictions, and write the output of each."""

    def summary(self) -> str:
        """Return what was written."""


def check_dicom_output(folder: Path | None, *, pdf: bool) -> None:
    """Refuse a folder that could not be written, before any image is read.

    Raises:
        ValueError: If the folder is a file, or `--pdf` is given without a folder.
        ImportError: If the extra is missing; the message names it.
    """
    if folder is None:
        if pdf:
            raise ValueError("--pdf needs --dicom-output DIR. Name the folder too.")
        return
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file. Name a folder for the DICOM objects.")
    import covid_monai.results  # noqa: F401


def check_report(report: Path | None, *, images: int) -> None:
    """Refuse a report that could not be written, before any image is read.

    Raises:
        ValueError: If the file does not end in .pdf or is a folder, or there are too many images.
        ImportError: If the extra is missing; the message names it.
    """
    if report is None:
        return
    if report.suffix.lower() != ".pdf" or report.is_dir():
        raise ValueError(f"{report} is not a PDF file. Give --report a file name that ends in .pdf.")

    from covid_monai.results.pdf.batch_report import LARGEST_BATCH

    if images > LARGEST_BATCH:
        raise ValueError(
            f"--report is for {LARGEST_BATCH} images at most, but there are {images} files. Name fewer "
            "files, or use --output."
        )


class DicomOutput:
    """Writer of the DICOM objects of each prediction.

    Args:
        classifier: Classifier that makes the predictions.
        folder: Folder of the files.
        pdf: Whether to write the PDF report too.
    """

    def __init__(self, classifier: "Classifier", folder: Path, *, pdf: bool) -> None:
        from covid_monai.results import ResultObjects

        self._results = ResultObjects(classifier, pdf=pdf)
        self._folder = folder
        self._objects = self._images = 0
        self._skipped: Counter[str] = Counter()  # files without objects, by reason
        self._written_uids: set[str] = set()

    def write_along(self, predictions: Iterator["Prediction"]) -> Iterator["Prediction"]:
        """Yield the same predictions, each after its objects are on disk."""
        for prediction in predictions:
            self._write(prediction)
            yield prediction

    def summary(self) -> str:
        """Return how many objects were written, and why the other files have none."""
        images = format_count(self._images, "image")
        text = (
            f"{format_count(self._objects, 'DICOM object', 'DICOM objects')} of {images} in {self._folder}."
        )
        if self._skipped:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in self._skipped.most_common())
            text += f" No DICOM objects for {format_count(self._skipped.total(), 'file')}: {reasons}."
        return text

    def _write(self, prediction: "Prediction") -> None:
        from covid_monai.results import NoResultObjects, write_results

        try:
            objects = self._results.of(prediction)
        except NoResultObjects as error:
            self._skipped[error.cause] += 1
            return
        except UnreadableImage:
            self._skipped["could not be read again"] += 1
            return
        if not objects:
            self._skipped[f"{prediction.status} ({prediction.reason})"] += 1
        elif objects[0].SOPInstanceUID in self._written_uids:
            self._skipped["same SOP Instance UID as an earlier image"] += 1
        else:
            self._written_uids.add(objects[0].SOPInstanceUID)
            self._objects += len(write_results(objects, self._folder))
            self._images += 1


class PdfReport:
    """Writer of one PDF report when all predictions are made.

    Args:
        classifier: Classifier that makes the predictions.
        path: The PDF file.
        images: Number of predictions: one image has its own page, several have a table.
    """

    def __init__(self, classifier: "Classifier", path: Path, *, images: int) -> None:
        self._classifier, self._path, self._images = classifier, path, images
        if images == 1:
            classifier.load_explainer()

    def write_along(self, predictions: Iterator["Prediction"]) -> Iterator["Prediction"]:
        """Yield the same predictions; the report is on disk at the end."""
        from covid_monai.core.atomic_files import replace_atomically

        seen: list[Prediction] = []
        thumbnails: dict[str, bytes] = {}
        for prediction in predictions:
            seen.append(prediction)
            if self._images > 1:
                thumbnails |= _thumbnail(prediction.file)
            yield prediction
        content = self._content(seen, thumbnails)
        with replace_atomically(self._path) as temporary:
            temporary.write_bytes(content)

    def summary(self) -> str:
        """Return the place of the report."""
        return f"Report: {self._path}"

    def _content(self, predictions: list["Prediction"], thumbnails: dict[str, bytes]) -> bytes:
        from covid_monai.results.pdf.batch_report import make_batch_report
        from covid_monai.results.pdf.image_report import make_image_report

        if self._images == 1:
            return make_image_report(self._classifier, predictions[0])
        title = "Chest radiographs: automatic classification"
        return make_batch_report(predictions, thumbnails, self._classifier.model, title)


def _thumbnail(file: str) -> dict[str, bytes]:
    """Return the thumbnail by its file; nothing if the image cannot be read."""
    from covid_monai.readers import read_radiograph
    from covid_monai.results.rendering import THUMBNAIL_SIDE, render_thumbnail

    try:
        (image,), _ = read_radiograph(file, target_size=THUMBNAIL_SIDE)
    except (UnreadableImage, RefusedImage):
        return {}
    return {file: render_thumbnail(image)}
