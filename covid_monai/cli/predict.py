"""`covid-monai predict`: image files in, one record each out."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covid_monai.cli import examples
from covid_monai.cli.dicom_output import DicomOutput, check_dicom_output
from covid_monai.cli.options import BackendOption, BundleOption, DeviceOption, find_bundle, find_images
from covid_monai.cli.pdf_report import PdfReport, check_report
from covid_monai.core.lazy_imports import import_monai_for_prediction
from covid_monai.core.progress import with_progress
from covid_monai.core.vocabulary import RESEARCH_USE, Status

if TYPE_CHECKING:
    from rich.table import Table

    from covid_monai.inference import Prediction
    from covid_monai.inference.classifier import Classifier


_TROUBLES_TOLD = 20

EXAMPLES = examples(
    "covid-monai predict image.dcm",
    "covid-monai predict --output results.csv studies/",
    "covid-monai predict --bundle runs/mine --json images/*.png",
    "covid-monai predict --report image.pdf image.png",
    "covid-monai predict --dicom-output results/ --pdf studies/",
)


def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Image files, or folders of them.")],
    bundle: BundleOption = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="FILE.jsonl or FILE.csv; - writes JSON Lines to the terminal."),
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="The same as --output -")] = False,
    dicom_output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for a DICOM report and heat map of each DICOM image."),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="With --dicom-output: a page for a person too.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.pdf", help="A page on one image with its heat map, or a table of many."),
    ] = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images through the network at once.")] = 16,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and preprocess.")] = 2,
) -> None:
    """Classify chest radiographs: DICOM, JPEG, PNG.

    Every file gets one record: ok with its probabilities, or refused or error with the reason.

    Exit code: 0 if all files are ok, 1 if any was refused or failed, 2 for wrong usage.
    """
    output = _settled_output(output, json_lines=json_lines)
    check_dicom_output(dicom_output, pdf=pdf)
    files = find_images(paths)
    check_report(report, images=len(files))
    place = bundle if bundle is not None and bundle.is_file() else find_bundle(bundle)

    import_monai_for_prediction()
    from covid_monai.bundle.bundle_zip import open_bundle
    from covid_monai.inference.classifier import Classifier

    with open_bundle(place) as folder:
        classifier = Classifier(
            folder,
            device=device,
            batch_size=batch_size,
            workers=workers,
            backend=backend,
        )
        others = _other_outputs(classifier, dicom_output, report, pdf=pdf, images=len(files))
    predictions = classifier.predict(files)
    for other in others:
        predictions = other.along(predictions)
    predictions = with_progress(predictions, "classifying", total=len(files))
    if output is None:
        outcomes = _print_table(predictions, classifier.class_names)
    else:
        outcomes = _write(predictions, output, classifier.class_names)
    _print_summary(outcomes, output)
    for other in others:
        typer.echo(other.summary(), err=True)
    if outcomes.total() > outcomes[str(Status.OK)]:
        raise typer.Exit(1)


def _other_outputs(
    classifier: "Classifier", dicom_output: Path | None, report: Path | None, *, pdf: bool, images: int
) -> list[DicomOutput | PdfReport]:
    """What is written beside the records, as the predictions come."""
    others: list[DicomOutput | PdfReport] = []
    if dicom_output is not None:
        others.append(DicomOutput(classifier, dicom_output, pdf=pdf))
    if report is not None:
        others.append(PdfReport(classifier, report, images=images))
    return others


def _settled_output(output: str | None, *, json_lines: bool) -> str | None:
    """Where the records go; None stands for the table."""
    from covid_monai.inference.output import STDOUT, check_output

    if json_lines and output not in (None, STDOUT):
        raise ValueError(f"--json writes to the terminal: leave it out to write {output}.")
    if output is not None:
        check_output(output)
    return STDOUT if json_lines else output


def _write(predictions: Iterable["Prediction"], output: str, class_names: tuple[str, ...]) -> Counter[str]:
    from covid_monai.inference.output import STDOUT, open_results, partial_path

    outcomes: Counter[str] = Counter()
    troubles: list[str] = []
    try:
        with open_results(output, class_names=class_names) as write:
            for prediction in predictions:
                write(prediction)
                outcomes[_outcome(prediction)] += 1
                if not prediction.ok and len(troubles) < _TROUBLES_TOLD:
                    troubles.append(_trouble(prediction))
    except BaseException:  # above all Ctrl-C: say what is left of the work
        if output != STDOUT and outcomes:
            typer.echo(f"Stopped: {outcomes.total()} results stand in {partial_path(output)}", err=True)
        raise
    if output != STDOUT:
        _tell(troubles, outcomes.total() - outcomes[str(Status.OK)], output)
    return outcomes


def _tell(troubles: list[str], total: int, output: str) -> None:
    """What has no result and why: a file of results says it, but a person does not look there first."""
    for trouble in troubles:
        typer.echo(trouble, err=True)
    if total > len(troubles):
        more = total - len(troubles)
        typer.echo(f"{more} more were refused or failed: see the reason of each in {output}.", err=True)


def _trouble(record: "Prediction") -> str:
    detail = str(record.detail).removeprefix(f"{Path(record.file).name}: ")
    return f"{_printable(record.file)}: {_outcome(record)}: {_printable(detail)}"


def _outcome(prediction: "Prediction") -> str:
    return str(prediction.status) if prediction.ok else f"{prediction.status}: {prediction.reason}"


def _print_table(predictions: Iterable["Prediction"], class_names: tuple[str, ...]) -> Counter[str]:
    from rich.console import Console

    records = list(predictions)
    if any(record.ok for record in records):
        Console().print(_table([record for record in records if record.ok], class_names))
    for record in records:
        if not record.ok:
            typer.echo(_trouble(record))
    return Counter(map(_outcome, records))


def _table(records: list["Prediction"], class_names: tuple[str, ...]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from covid_monai.readers.image_files import common_folder

    folder = common_folder([record.file for record in records])
    table = Table(box=box.SIMPLE_HEAD, title=Text(folder) if folder else None, caption=RESEARCH_USE)
    table.add_column("file", overflow="fold", min_width=16)
    table.add_column("class")
    for name in class_names:
        table.add_column(Text(f"p({name})"), justify="right")
    table.add_column("decision")
    for record in records:
        probabilities = record.probabilities or {}
        numbers = [f"{probabilities[name]:.3f}" for name in class_names]
        decision = _decision(record)
        file = _printable(record.file.removeprefix(folder))
        table.add_row(*map(Text, (file, str(record.predicted_class), *numbers, decision)))
    return table


def _decision(record: "Prediction") -> str:
    decision = (record.decision or {}).get("class", "-")
    if (record.decision or {}).get("reason") is None:
        return str(decision)
    return f"{decision}: {' or '.join(record.prediction_set or ['no class fits'])}"


def _printable(text: str) -> str:
    """Without the bytes that are no text and may stand in a file's name, and on one line."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _print_summary(outcomes: Counter[str], output: str | None) -> None:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    written = f" Written to {output}." if output not in (None, "-") else ""
    typer.echo(f"{outcomes.total()} files: {counts}.{written}", err=True)
    if output is not None:  # the table has it below itself
        typer.echo(RESEARCH_USE, err=True)
