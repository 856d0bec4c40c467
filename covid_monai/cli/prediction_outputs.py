"""What `covid-monai predict` writes beside its records: DICOM objects, and a PDF report."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.errors import without_file_name
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RefusedImage, UnreadableImage

if TYPE_CHECKING:
    from covid_monai.inference import Prediction
    from covid_monai.inference.classifier import Classifier
    from covid_monai.results import ResultObjects


@dataclass
class OtherOutputs:
    """What `covid-monai predict` writes beside its records, and what became of it."""

    dicom_folder: Path | None
    report: Path | None
    pdf: bool  # among the DICOM objects
    images: int  # number of files
    made: datetime = field(default_factory=lambda: datetime.now().astimezone())  # for all of a run
    lines: list[str] = field(default_factory=list)  # what was written, for the end of the run
    failures: list[str] = field(default_factory=list)  # outputs that are missing; each makes the exit code 1

    def check(self) -> None:
        """Refuse what could not be written, before any image is read; name an extra that is missing."""
        folder, report = self.dicom_folder, self.report
        if self.pdf and folder is None:
            raise ValueError("--pdf needs --dicom-output DIR. Name the folder too.")
        if folder is not None:
            if folder.exists() and not folder.is_dir():
                raise ValueError(f"{folder} is a file. Name a folder for the DICOM objects.")
            import covid_monai.results  # noqa: F401
        if report is not None:
            if report.suffix.lower() != ".pdf" or report.is_dir():
                raise ValueError(f"{report} is not a PDF file. Give --report a file name that ends in .pdf.")

            from covid_monai.results.pdf.batch_report import LARGEST_BATCH

            if self.images > LARGEST_BATCH:
                raise ValueError(
                    f"--report is for {LARGEST_BATCH} images at most, but there are {self.images} files. "
                    "Name fewer files, or use --output."
                )

    def write(self, predictions: Iterator["Prediction"], classifier: "Classifier") -> Iterator["Prediction"]:
        """Return the same predictions, with the outputs written on the way and noted at the end.

        What the explanations need is loaded now, because the folder of an exported zip is deleted.
        """
        if self.dicom_folder is not None:
            from covid_monai.results import ResultObjects

            results = ResultObjects(classifier, pdf=self.pdf)
            predictions = self._write_dicom(predictions, results, self.dicom_folder)
        if self.report is not None:
            if self.images == 1:
                classifier.load_explainer()
            predictions = self._write_report(predictions, classifier, self.report)
        return predictions

    def _write_dicom(
        self, predictions: Iterator["Prediction"], results: "ResultObjects", folder: Path
    ) -> Iterator["Prediction"]:
        """Yield the same predictions, each after its objects are in `folder`."""
        from covid_monai.results import NoResultObjects, write_results

        written = 0
        uids: set[str] = set()  # of the first object of each image
        skipped: Counter[str] = Counter()  # files without objects, by reason
        for prediction in predictions:
            try:
                objects = results.of(prediction, self.made)
                if not objects:
                    skipped[f"{prediction.status} ({prediction.reason})"] += 1
                elif objects[0].SOPInstanceUID in uids:
                    skipped["same SOP Instance UID as an earlier image"] += 1
                else:
                    written += len(write_results(objects, folder))
                    uids.add(objects[0].SOPInstanceUID)
            except NoResultObjects as error:
                skipped[error.cause] += 1
            except Exception as error:  # noqa: BLE001  # a failure concerns its image only
                skipped["failed"] += 1
                self._add_failure(prediction.file, "no DICOM objects were written", error)
            yield prediction
        line = f"{format_count(written, 'DICOM object')} of {format_count(len(uids), 'image')} in {folder}."
        if skipped:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in skipped.most_common())
            line += f" No DICOM objects for {format_count(skipped.total(), 'file')}: {reasons}."
        self.lines.append(line)

    def _write_report(
        self, predictions: Iterator["Prediction"], classifier: "Classifier", path: Path
    ) -> Iterator["Prediction"]:
        """Yield the same predictions, and write the report at the end: a page for one image, else a table."""
        from covid_monai.results.rendering import make_thumbnail

        seen: list[Prediction] = []
        thumbnails: dict[str, bytes | None] = {}
        for prediction in predictions:
            seen.append(prediction)
            if self.images > 1:
                thumbnails[prediction.file] = make_thumbnail(prediction.file)
            yield prediction
        try:
            from covid_monai.results.pdf.batch_report import make_batch_report
            from covid_monai.results.pdf.image_report import make_image_report

            if len(seen) == 1:
                content = make_image_report(classifier, seen[0], made=self.made)
            else:
                title = "Chest radiographs: automatic classification"
                content = make_batch_report(seen, thumbnails, classifier.model, title, made=self.made)
            with replace_atomically(path) as temporary:
                temporary.write_bytes(content)
        except Exception as error:  # noqa: BLE001  # the records are more important than the report
            self._add_failure(str(path), "the report was not written", error)
        else:
            self.lines.append(f"Report: {path}")

    def _add_failure(self, file: str, missing: str, error: Exception) -> None:
        """Remember that an output is missing; the text of an unknown error may name the patient."""
        known = isinstance(error, (OSError, UnreadableImage, RefusedImage))
        cause = without_file_name(str(error), file).rstrip(".") if known else type(error).__name__
        self.failures.append(f"{file}: {missing} ({cause}). Its record is written, and so are other images.")
