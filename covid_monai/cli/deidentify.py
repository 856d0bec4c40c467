"""`covid-monai data deidentify`: de-identified copies of DICOM images for research."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covid_monai.cli.options import JsonOption, argument, option, print_json, reserve_stdout
from covid_monai.core.errors import unknown_choice
from covid_monai.core.number_format import format_count

if TYPE_CHECKING:
    from covid_monai.deidentify.rules import Rules


def deidentify(
    inputs: Annotated[list[Path], argument("deidentify.inputs")],
    output: Annotated[Path, argument("deidentify.output")],
    key_file: Annotated[Path, option("deidentify.key_file")],
    new_key: Annotated[bool, option("deidentify.new_key", "--new-key")] = False,
    retain: Annotated[list[str] | None, option("deidentify.retain")] = None,
    allow_burned_in: Annotated[bool, option("deidentify.allow_burned_in", "--allow-burned-in")] = False,
    crosswalk: Annotated[Path | None, option("deidentify.crosswalk")] = None,
    workers: Annotated[int | None, option("deidentify.workers", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove identities from DICOM images by the Basic Profile of PS3.15 E; dates move, pixels stay.

    Messages name an input by its number, because its file name may be a patient's. OUT/deidentification.json
    accounts for every file and lists the images that a person must look at.

    Exit code: 0 if all files have a copy, 1 if any was refused or failed, 2 for wrong usage.
    """
    from covid_monai.deidentify.copies import deidentify_files, list_input_files
    from covid_monai.deidentify.replacements import KEY_ADVICE, create_key, load_key

    rules = _rules(retain or [])  # rules and inputs come before a new key, because either may be missing
    _check_outside(output, {"--key-file": key_file, "--crosswalk": crosswalk})
    files = list_input_files(inputs, output=output)
    pseudonyms = create_key(key_file) if new_key else load_key(key_file)
    if new_key:
        typer.echo(f"New key in {key_file}. {KEY_ADVICE}", err=True)
    with reserve_stdout(as_json):
        manifest = deidentify_files(
            files,
            output,
            pseudonyms=pseudonyms,
            rules=rules,
            allow_burned_in=allow_burned_in,
            workers=workers,
            crosswalk=crosswalk,
        )
    _print_manifest(manifest, output, as_json=as_json)
    if manifest["refused"]:
        raise typer.Exit(1)


def _check_outside(output: Path, secrets: dict[str, Path | None]) -> None:
    for name, path in secrets.items():
        if path is not None and path.resolve().is_relative_to(output.resolve()):
            raise ValueError(f"{name} is in the output folder, which leaves the hospital. Put it elsewhere.")


def _rules(retain: list[str]) -> "Rules":
    from covid_monai.deidentify.rules import Retain, Rules

    for name in retain:
        if name not in list(Retain):
            raise ValueError(f"--retain: {unknown_choice('option of the profile', name, Retain)}")
    return Rules([Retain(name) for name in retain])


def _print_manifest(manifest: dict[str, Any], output: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(manifest)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    caption = "This is no guarantee of anonymity: docs/deidentification.md says what is not done."
    table = Table("files", "outcome", box=box.SIMPLE_HEAD, caption=caption)
    table.columns[0].justify = "right"
    for count, outcome in _outcomes(manifest):
        if count:
            table.add_row(f"{count:,}", outcome)
    table.add_section()
    for name, outcome in (
        ("private", "private elements removed"),
        ("removed", "other elements removed"),
        ("changed", "elements emptied, replaced or shifted"),
    ):
        table.add_row(f"{manifest['elements'][name]:,}", outcome)
    Console().print(table)
    if manifest["review"]:
        advice = "Look at every image under review before you hand the folder on."
        typer.echo(f"{advice} The report has the paths.")
    typer.echo(f"Report: {output / 'deidentification.json'}")


def _outcomes(manifest: dict[str, Any]) -> Iterator[tuple[int, str]]:
    counts = manifest["counts"]
    patients = format_count(counts["patients"], "patient")
    yield counts["inputs"], "inputs"
    yield counts["copies"], f"copies ({patients}, {format_count(counts['studies'], 'study', 'studies')})"
    yield counts["copies_without_patient_id"], "copies without PatientID: each study counts as one patient"
    yield (
        counts["copies_with_rewritten_pixel_data"],
        "copies with pixel data written anew: the same pixels, nothing beside them",
    )
    yield counts["repeats"], "repeats of another input"
    yield counts["directories"], "DICOMDIR, left out"
    refused = Counter((each["reason"], each["detail"]) for each in manifest["refused"])
    yield from ((count, f"refused: {reason}. {detail}") for (reason, detail), count in refused.most_common())
    review = Counter(reason for reasons in manifest["review"].values() for reason in reasons)
    yield from ((count, f"to review: {reason}") for reason, count in review.most_common())
