"""`covid-monai data deidentify`: DICOM files on their way from a hospital to research."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covid_monai.cli import examples
from covid_monai.cli.options import JsonOption, complete_words, print_json, reserve_stdout
from covid_monai.core.errors import unknown_choice

if TYPE_CHECKING:
    from rich.table import Table

    from covid_monai.deidentify.rules import Rules

EXAMPLES = examples(
    "covid-monai data deidentify --new-key --key-file ~/study.key export/ research/",
    "covid-monai data deidentify --key-file ~/study.key --retain patient-characteristics export/ research/",
    "covid-monai data deidentify --key-file ~/study.key --crosswalk ~/crosswalk.csv cd1/ cd2/ research/",
)


def deidentify(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="DICOM files, or folders of them.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder, or that of an earlier run to complete.")
    ],
    key_file: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="The secret that pseudonyms, UIDs and shifts of dates follow from."
        ),
    ],
    new_key: Annotated[bool, typer.Option("--new-key", help="Make the key file, with a random key.")] = False,
    retain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTION",
            autocompletion=complete_words("patient-characteristics", "device"),
            help="Keep more: patient-characteristics (sex, age up to 89, size, weight) or device (serial "
            "numbers, stations). May be given twice.",
        ),
    ] = None,
    allow_burned_in: Annotated[
        bool, typer.Option("--allow-burned-in", help="Let in pictures that say they carry identity.")
    ] = False,
    crosswalk: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write old beside new names, for the hospital only.", show_default="none"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads.", show_default="one a processor")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove identities from DICOM images (PS3.15 E, Basic Profile); dates move, pixels stay as they are.

    Inputs are named by their number, since their names may be a patient's. OUT/deidentification.json accounts
    for every file and lists what a person must look at.

    Exit code: 0 if all files have a copy, 1 if any was refused or failed, 2 for wrong usage.
    """
    from covid_monai.deidentify.opening import input_files
    from covid_monai.deidentify.pseudonyms import KEY_ADVICE, create_key, load_key
    from covid_monai.deidentify.run import Settings
    from covid_monai.deidentify.run import deidentify as run

    rules = _rules(retain or [])  # this and the inputs before a key is made: either may be missing
    for name, path in (("--key-file", key_file), ("--crosswalk", crosswalk)):
        if path is not None and path.resolve().is_relative_to(output.resolve()):
            raise ValueError(f"{name} lies in the output folder, which leaves the house: put it elsewhere.")
    files = input_files(inputs, output=output)
    if new_key:
        pseudonyms = create_key(key_file)
        typer.echo(f"New key in {key_file}. {KEY_ADVICE}", err=True)
    else:
        pseudonyms = load_key(key_file)
    settings = Settings(pseudonyms, rules, allow_burned_in=allow_burned_in, workers=workers)
    with reserve_stdout(as_json):
        report = run(files, output, settings, crosswalk=crosswalk)
    if as_json:
        print_json(report)
    else:
        _print_report(report, output)
    if report["refused"]:
        raise typer.Exit(1)


def _rules(retain: list[str]) -> "Rules":
    from covid_monai.deidentify.rules import Retain, Rules

    known = [str(option) for option in Retain]
    for option in retain:
        if option not in known:
            raise ValueError(f"--retain: {unknown_choice('profile option', option, known)}")
    return Rules([Retain(option) for option in retain])


def _print_report(report: dict[str, Any], output: Path) -> None:
    from rich.console import Console

    Console().print(_table(report))
    if report["review"]:
        typer.echo(
            "Look at every picture under review before you hand the folder on; their paths are in the report."
        )
    typer.echo(f"Report: {output / 'deidentification.json'}")


def _table(report: dict[str, Any]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, caption="No guarantee: docs/deidentification.md says what is not done."
    )
    table.add_column("files", justify="right")
    table.add_column("what became of them")
    counts = report["counts"]
    table.add_row(str(counts["inputs"]), "inputs")
    table.add_row(
        str(counts["copies"]), f"copies, of {counts['patients']} patients and {counts['studies']} studies"
    )
    if counts["copies_without_patient_id"]:
        table.add_row(
            str(counts["copies_without_patient_id"]),
            "copies without PatientID: each study counts as a patient",
        )
    for name, meaning in (("repeats", "repeats of another input"), ("directories", "DICOMDIR, left out")):
        if counts[name]:
            table.add_row(str(counts[name]), meaning)
    details = Counter((each["reason"], each["detail"]) for each in report["refused"])
    for (reason, detail), count in details.most_common():
        table.add_row(str(count), f"refused: {reason}. {detail}")
    reviews = Counter(reason for reasons in report["review"].values() for reason in reasons)
    for reason, count in reviews.most_common():
        table.add_row(str(count), f"to review: {reason}")
    elements = report["elements"]
    table.add_section()
    table.add_row(str(elements["private"]), "private elements removed")
    table.add_row(str(elements["removed"]), "other elements removed")
    table.add_row(str(elements["changed"]), "elements emptied, replaced or shifted")
    return table
