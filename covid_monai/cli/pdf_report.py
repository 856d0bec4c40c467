"""`--report` of `covid-monai predict`: what was found, as a PDF for a person."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from covid_monai.core.vocabulary import RefusedImage, UnreadableImage

if TYPE_CHECKING:
    from covid_monai.inference import Prediction
    from covid_monai.inference.classifier import Classifier


def check_report(report: Path | None, *, images: int) -> None:
    """Refuse what could not be written, before any time is spent.

    Raises:
        ValueError: If the file does not end in .pdf or is a folder, or there are too many images for one.
        ImportError: If the extra is missing; the message names it.
    """
    if report is None:
        return
    if report.suffix.lower() != ".pdf" or report.is_dir():
        raise ValueError(f"{report}: the report is a PDF file; give --report a name that ends in .pdf.")

    from covid_monai.results.pdf.batch_report import LARGEST_BATCH

    if images > LARGEST_BATCH:
        raise ValueError(
            f"--report: {images} files; a report holds {LARGEST_BATCH} at most. Give fewer, or --output."
        )


class PdfReport:
    """Collects what a report needs as the predictions come, and writes it at the end.

    Args:
        classifier: Makes the predictions.
        path: The PDF file.
        images: How many predictions there will be: one gets its own page, more get a table.
    """

    def __init__(self, classifier: "Classifier", path: Path, *, images: int) -> None:
        self._classifier, self._path, self._images = classifier, path, images
        if images == 1:
            classifier.load_explainer()

    def along(self, predictions: Iterator["Prediction"]) -> Iterator["Prediction"]:
        """The same predictions; the report is on disk when the last one was taken."""
        from covid_monai.core.atomic_files import replace_atomically

        seen: list[Prediction] = []
        thumbnails: dict[str, bytes] = {}
        for prediction in predictions:
            seen.append(prediction)
            if self._images > 1:
                thumbnails |= _thumbnail(prediction.file)
            yield prediction
        document = self._document(seen, thumbnails)
        with replace_atomically(self._path) as temporary:
            temporary.write_bytes(document)

    def summary(self) -> str:
        """Where the report is."""
        return f"Report: {self._path}"

    def _document(self, predictions: list["Prediction"], thumbnails: dict[str, bytes]) -> bytes:
        from covid_monai.results.pdf.batch_report import make_batch_report
        from covid_monai.results.pdf.image_report import make_image_report

        if self._images == 1:
            return make_image_report(self._classifier, predictions[0])
        title = "Chest radiographs: automatic classification"
        return make_batch_report(predictions, thumbnails, self._classifier.model, title)


def _thumbnail(file: str) -> dict[str, bytes]:
    """By its file; nothing where there is no image to show."""
    from covid_monai.readers import read_radiograph
    from covid_monai.results.rendering import THUMBNAIL_SIDE, render_thumbnail

    try:
        (image,), _ = read_radiograph(file, target_size=THUMBNAIL_SIDE)
    except (UnreadableImage, RefusedImage):
        return {}
    return {file: render_thumbnail(image)}
