"""`covid-monai predict`: one record per image file."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covid_monai.bundle.shipped import find_bundle
from covid_monai.cli import outcome_counts
from covid_monai.cli.options import (
    BackendOption,
    BatchSizeOption,
    BundleOption,
    DeviceOption,
    ImagePaths,
    TrustCodeOption,
    find_images,
    option,
)
from covid_monai.cli.prediction_outputs import OtherOutputs
from covid_monai.core.errors import printable, without_file_name
from covid_monai.core.lazy_imports import import_monai_for_prediction
from covid_monai.core.number_format import format_metric
from covid_monai.core.progress import with_progress
from covid_monai.core.vocabulary import RESEARCH_USE, Status

if TYPE_CHECKING:
    from rich.table import Table

    from covid_monai.inference import Prediction

_LISTED_FAILURES = 20


def predict(
    paths: ImagePaths,
    bundle: BundleOption = None,
    output: Annotated[str | None, option("predict.output")] = None,
    json_lines: Annotated[bool, option("predict.json_lines", "--json")] = False,
    dicom_output: Annotated[Path | None, option("predict.dicom_output")] = None,
    pdf: Annotated[bool, option("predict.pdf", "--pdf")] = False,
    report: Annotated[Path | None, option("predict.report")] = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
    batch_size: BatchSizeOption = 16,
    workers: Annotated[int, option("predict.workers", min=1)] = 2,
    trust_code: TrustCodeOption = False,
) -> None:
    """Classify chest radiographs: DICOM, JPEG, PNG.

    Every file has one record: ok with its probabilities, or refused or error with the reason.

    Exit code: 0 if all files are ok and all outputs are written, 1 if any was refused or failed, 2 for wrong
    usage.
    """
    output = _choose_output(output, json_lines=json_lines)
    files = find_images(paths)
    others = OtherOutputs(dicom_output, report, pdf, images=len(files))
    others.check()
    bundle_path = bundle if bundle is not None and bundle.is_file() else find_bundle(bundle)

    import_monai_for_prediction()
    from covid_monai.bundle.bundle_zip import open_bundle
    from covid_monai.inference.classifier import Classifier

    with open_bundle(bundle_path) as folder:
        classifier = Classifier(
            folder,
            device=device,
            batch_size=batch_size,
            workers=workers,
            backend=backend,
            trust_code=trust_code,
        )
        predictions = others.write(iter(classifier.predict(files)), classifier)
    predictions = with_progress(predictions, "classifying", total=len(files))
    if output is None:
        outcomes = _print_table(predictions, classifier.class_names)
    else:
        outcomes = _write(predictions, output, classifier.class_names)
    _print_summary(outcomes, output, others)
    if others.failures or outcomes.total() > outcomes[str(Status.OK)]:
        raise typer.Exit(1)


def _print_summary(outcomes: Counter[str], output: str | None, others: OtherOutputs) -> None:
    written = f" Written to {output}." if output not in (None, "-") else ""
    typer.echo(f"{outcome_counts(outcomes)}{written}", err=True)
    if output is not None:  # the table has this line as its caption
        typer.echo(RESEARCH_USE, err=True)
    for line in [*map(printable, others.failures), *others.lines]:
        typer.echo(line, err=True)


def _choose_output(output: str | None, *, json_lines: bool) -> str | None:
    """Return the place of the records; None means the table."""
    from covid_monai.inference.output import STDOUT, check_output

    if json_lines and output not in (None, STDOUT):
        raise ValueError(f"--json writes to the terminal. Leave it out to write {output}.")
    if output is not None:
        check_output(output)
    return STDOUT if json_lines else output


def _write(predictions: Iterable["Prediction"], output: str, class_names: tuple[str, ...]) -> Counter[str]:
    from covid_monai.inference.output import STDOUT, open_output, partial_path

    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    try:
        with open_output(output, class_names=class_names) as write:
            for prediction in predictions:
                write(prediction)
                outcomes[_outcome(prediction)] += 1
                if not prediction.ok and len(failures) < _LISTED_FAILURES:
                    failures.append(_failure_line(prediction))
    except BaseException:  # for example Ctrl-C: name the file with the finished part
        if output != STDOUT and outcomes:
            typer.echo(f"Stopped. {partial_path(output)} has {outcomes.total()} results.", err=True)
        raise
    if output != STDOUT:
        for failure in failures:  # the output has these too, but people look here first
            typer.echo(failure, err=True)
        more = outcomes.total() - outcomes[str(Status.OK)] - len(failures)
        if more:
            verb = "was" if more == 1 else "were"
            typer.echo(f"{more:,} more {verb} refused or failed. The reasons are in {output}.", err=True)
    return outcomes


def _failure_line(record: "Prediction") -> str:
    detail = without_file_name(str(record.detail), record.file)
    return f"{printable(record.file)}: {_outcome(record)}: {printable(detail)}"


def _outcome(prediction: "Prediction") -> str:
    return str(prediction.status) if prediction.ok else f"{prediction.status}: {prediction.reason}"


def _print_table(predictions: Iterable["Prediction"], class_names: tuple[str, ...]) -> Counter[str]:
    from rich.console import Console

    records = list(predictions)
    if any(record.ok for record in records):
        Console().print(_table([record for record in records if record.ok], class_names))
    for record in records:
        if not record.ok:
            typer.echo(_failure_line(record))
    return Counter(map(_outcome, records))


def _table(records: list["Prediction"], class_names: tuple[str, ...]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from covid_monai.inference.wording import unseen_sentence
    from covid_monai.readers.image_files import common_folder

    folder = common_folder([record.file for record in records])
    caption = f"{unseen_sentence(records[0])}\n{RESEARCH_USE}".strip()
    table = Table(box=box.SIMPLE_HEAD, title=Text(folder) if folder else None, caption=Text(caption))
    table.add_column("file", overflow="fold", min_width=16)
    table.add_column("result")
    for name in class_names:
        table.add_column(Text(f"p({name})"), justify="right")
    for record in records:
        probabilities = [format_metric((record.probabilities or {})[name]) for name in class_names]
        file = printable(record.file.removeprefix(folder))
        table.add_row(*map(Text, (file, _result(record), *probabilities)))
    return table


def _result(record: "Prediction") -> str:
    from covid_monai.inference.wording import class_label, finding, is_uncertain

    possible = " or ".join(map(class_label, record.prediction_set or []))
    return finding(record) + (f" ({possible} possible)" if is_uncertain(record) and possible else "")
