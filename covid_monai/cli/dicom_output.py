"""`--dicom-output` of `covid-monai predict`: DICOM objects beside the records, as the predictions come."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from covid_monai.core.vocabulary import UnreadableImage

if TYPE_CHECKING:
    from covid_monai.inference import Prediction
    from covid_monai.inference.classifier import Classifier


def check_dicom_output(folder: Path | None, *, pdf: bool) -> None:
    """Refuse what could not be written, before any time is spent.

    Raises:
        ValueError: If the folder is a file, or a page is wanted without a folder.
        ImportError: If the extra is missing; the message names it.
    """
    if folder is None:
        if pdf:
            raise ValueError("--pdf belongs to --dicom-output DIR: name the folder too.")
        return
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the DICOM objects.")
    import covid_monai.results  # noqa: F401


class DicomOutput:
    """Writes the result objects of each prediction, and counts what has none.

    Args:
        classifier: Makes the predictions.
        folder: Where the files go.
        pdf: Whether to make the page for a person.
    """

    def __init__(self, classifier: "Classifier", folder: Path, *, pdf: bool) -> None:
        from covid_monai.results import ResultObjects

        self._results = ResultObjects(classifier, pdf=pdf)
        self._folder = folder
        self._written = 0
        self._images = 0
        self._without: Counter[str] = Counter()
        self._written_uids: set[str] = set()

    def along(self, predictions: Iterator["Prediction"]) -> Iterator["Prediction"]:
        """The same predictions, each given on when its objects are on disk."""
        for prediction in predictions:
            self._write(prediction)
            yield prediction

    def summary(self) -> str:
        """How much was written, and why the rest was not."""
        text = f"{self._written} DICOM objects of {self._images} images in {self._folder}."
        if self._without:
            causes = ", ".join(f"{count} {cause}" for cause, count in self._without.most_common())
            text += f" No DICOM objects for {self._without.total()} files, because: {causes}."
        return text

    def _write(self, prediction: "Prediction") -> None:
        from covid_monai.results import NoResultObjects, write_results

        try:
            objects = self._results.of(prediction)
        except NoResultObjects as error:
            self._without[error.cause] += 1
            return
        except UnreadableImage:  # it was there for the prediction
            self._without["could not be read again"] += 1
            return
        if objects and objects[0].SOPInstanceUID in self._written_uids:
            self._without["same SOP Instance UID as an image before"] += 1
        elif objects:
            self._written_uids.add(objects[0].SOPInstanceUID)
            self._images += 1
            self._written += len(write_results(objects, self._folder))
        else:
            self._without[f"{prediction.status} ({prediction.reason})"] += 1
