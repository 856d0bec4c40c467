"""`covid-monai data`: from images on disk to a datalist."""

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covid_monai.commands import audit as audit_command
from covid_monai.commands import deidentify as deidentify_command
from covid_monai.commands import examples
from covid_monai.commands.bundle_option import SHIPPED_BUNDLE
from covid_monai.datasets.duplicate_selection import COPY

if TYPE_CHECKING:
    from rich.table import Table

    from covid_monai.datasets.datalist import Datalist

_REASONS_SHOWN = 12
_CONFLICTS_SHOWN = 5

app = typer.Typer(
    help="De-identify DICOM files; make a datalist from public collections or your own images, and audit it.",
    no_args_is_help=True,
)
app.command(epilog=audit_command.EXAMPLES)(audit_command.audit)
app.command(epilog=deidentify_command.EXAMPLES)(deidentify_command.deidentify)


@app.command(
    epilog=examples(
        "covid-monai data prepare folder my_images/ --output datalist.json",
        "covid-monai data prepare kermany chest_xray/ --classes normal,pneumonia --output datalist.json",
        "covid-monai data prepare ieee8023 covid-chestxray-dataset/ kermany chest_xray/ --output all.json",
    )
)
def prepare(
    tokens: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE ROOT... [SOURCE ROOT...]", help="Kind of collection, then its folder."
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="The datalist to write.")],
    validation_fraction: Annotated[
        float, typer.Option(metavar="PART", help="Part of the patients outside test.")
    ] = 0.15,
    test_fraction: Annotated[
        float,
        typer.Option(metavar="PART", help="Part of the patients; a collection's own test split is kept."),
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    validation_order: Annotated[
        str,
        typer.Option(
            metavar="ORDER",
            help="Validation patients: random, or first by number, for a test split that is next in number.",
        ),
    ] = "random",
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Classes to keep, in the order of the labels; new=old+old merges.",
            show_default="all",
        ),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Views to keep, such as PA,AP.", show_default="frontal and unknown"
        ),
    ] = None,
    check_duplicates: Annotated[
        bool, typer.Option(help="Find the same film under two names; keep it on one side of the split.")
    ] = True,
) -> None:
    """Open every image once, find duplicates, split by patient, write a datalist for training.

    Sources: folder (one sub-folder a class), csv, dicom-folder, kermany, ieee8023, covid19-image-dataset,
    darkcovidnet, covid-cxnet, radiography, coronahack. See data/README.md.
    """
    from covid_monai.datasets.prepare import parse_sources
    from covid_monai.datasets.prepare import prepare as prepare_datalist
    from covid_monai.datasets.selection import parse_classes
    from covid_monai.datasets.split import check_order

    datalist = prepare_datalist(
        parse_sources(tokens),
        output=output,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
        validation_order=check_order(validation_order),
        classes=parse_classes(classes) if classes else None,
        views=[view.strip() for view in views.split(",")] if views else None,
        check_duplicates=check_duplicates,
    )
    _print_datalist(datalist)
    _print_next(output)


@app.command(
    epilog=examples(
        "covid-monai data phantom phantoms/",
        "covid-monai data phantom phantoms/ --patients 30 --size 256 --format dicom --no-ct --seed 7",
    )
)
def phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    patients: Annotated[int, typer.Option(help="Patients in all, a third of them in each class.")] = 120,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    size: Annotated[int, typer.Option(help="Rows and columns of a film, in pixels.")] = 512,
    image_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="dicom, jpeg, png, or mixed.")
    ] = "mixed",
    ct: Annotated[bool, typer.Option(help="Small CT volumes too.")] = True,
    marker: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Plant a bright corner marker into every film of a class: a shortcut for audits to find.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Draw synthetic radiographs, to try the software without any patient's data."""
    from covid_monai.datasets.datalist import read_datalist
    from covid_monai.datasets.phantom_files import write_phantoms

    written = write_phantoms(
        folder,
        patients=patients,
        seed=seed,
        size=size,
        image_format=image_format,
        ct=ct,
        planted_marker=marker,
    )
    _print_datalist(read_datalist(written))
    _print_next(written)


def _print_datalist(datalist: "Datalist") -> None:
    from rich.console import Console

    console = Console()
    console.print(_counts_table(datalist))
    if datalist.excluded:
        console.print(_excluded_table(datalist))
    for sentence in _duplicate_sentences(datalist):
        console.print(sentence, markup=False, highlight=False)
    typer.echo(f"Datalist: {datalist.path}")


def _counts_table(datalist: "Datalist") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Images")
    for column in ("source", "class"):
        table.add_column(column)
    for split in datalist.splits:
        table.add_column(split, justify="right")
    counted = Counter(
        (str(item.get("source", "")), item["label"], split)
        for split, items in datalist.splits.items()
        for item in items
    )
    for source in sorted({source for source, _, _ in counted}):
        for label, name in enumerate(datalist.class_names):
            numbers = [str(counted[source, label, split]) for split in datalist.splits]
            table.add_row(Text(source), Text(name), *numbers)
        table.add_section()
    totals = [(len(items), len({item["patient"] for item in items})) for items in datalist.splits.values()]
    table.add_row("all", "images", *(str(images) for images, _ in totals))
    table.add_row("", "patients", *(str(patients) for _, patients in totals))
    return table


def _excluded_table(datalist: "Datalist") -> "Table":
    from rich.table import Table
    from rich.text import Text

    reasons = Counter(_short_reason(str(item["reason"])) for item in datalist.excluded)
    table = Table(title=f"Left out: {len(datalist.excluded)} files")
    table.add_column("files", justify="right")
    table.add_column("reason")
    for reason, count in reasons.most_common(_REASONS_SHOWN):
        table.add_row(str(count), Text(reason))
    if len(reasons) > _REASONS_SHOWN:
        table.caption = f"{len(reasons) - _REASONS_SHOWN} more reasons; the datalist names each file"
    return table


def _short_reason(reason: str) -> str:
    """A reason without the name of the other file, so that copies are counted together."""
    return f"{COPY} a file that is kept" if reason.startswith(COPY) else reason


def _duplicate_sentences(datalist: "Datalist") -> list[str]:
    grouped = [item["group"] for items in datalist.splits.values() for item in items if "group" in item]
    copies = sum(str(item["reason"]).startswith(COPY) for item in datalist.excluded)
    sentences = []
    if grouped:
        sentences.append(
            f"Duplicates: {len(set(grouped))} films occur more than once or under other names; "
            f"{copies} exact copies dropped, {len(grouped)} images carry a group, which no split divides."
        )
    if datalist.label_conflicts:
        sentences.append(f"Contradicting labels: {len(datalist.label_conflicts)} films carry two classes:")
    for conflict in datalist.label_conflicts[:_CONFLICTS_SHOWN]:
        sentences.append(
            "  " + ", ".join(f"{each['image']} ({each['class']})" for each in conflict["images"])
        )
    if len(datalist.label_conflicts) > _CONFLICTS_SHOWN:
        sentences.append("  ... the datalist names all, under label_conflicts.")
    return sentences


def _print_next(datalist: Path) -> None:
    train = SHIPPED_BUNDLE / "configs" / "train.yaml"
    name = datalist.absolute().parent.name if datalist.stem == "datalist" else datalist.stem
    typer.echo(
        f"Next: python -m monai.bundle run training --config_file {train} "
        f"--datalist {shlex.quote(str(datalist))} --output_dir {shlex.quote(f'runs/{name}')}"
    )
