"""`covid-monai data`: datalists from images on disk, their audit, phantoms, and de-identification."""

from pathlib import Path
from typing import Annotated

import typer

from covid_monai.cli import audit as audit_command
from covid_monai.cli import deidentify as deidentify_command
from covid_monai.cli import examples
from covid_monai.cli.datalist_summary import print_summary
from covid_monai.cli.options import (
    JsonOption,
    complete_lists,
    complete_sources,
    complete_words,
    reserve_stdout,
)
from covid_monai.core.vocabulary import DEFAULT_CLASS_NAMES

app = typer.Typer(
    help="Prepare a datalist from public collections or your own images, audit it, de-identify DICOM files.",
    no_args_is_help=True,
    epilog=examples(
        "covid-monai data phantom phantoms/",
        "covid-monai data prepare folder my_images/ --output datalist.json",
        "covid-monai data audit datalist.json --output audit/",
    ),
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
    source_and_root: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE ROOT... [SOURCE ROOT...]",
            help="Name of a source, then its folder or folders. Further sources may follow.",
            autocompletion=complete_sources,
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="Datalist to write.")],
    validation_fraction: Annotated[
        float, typer.Option(metavar="PART", help="Part of the patients outside test, from 0 to below 1.")
    ] = 0.15,
    test_fraction: Annotated[
        float,
        typer.Option(metavar="PART", help="Part of the patients. A source's own test split stays as it is."),
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    validation_order: Annotated[
        str,
        typer.Option(
            metavar="ORDER",
            help="Choice of validation patients: random, or first (the lowest numbers outside test).",
            autocompletion=complete_words("random", "first"),
        ),
    ] = "random",
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Classes to keep, in the order of the labels; new=old+old merges classes.",
            autocompletion=complete_lists(*DEFAULT_CLASS_NAMES),
            show_default="all",
        ),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Views to keep, such as PA,AP.",
            show_default="frontal and unknown",
            autocompletion=complete_lists("PA", "AP", "LATERAL"),
        ),
    ] = None,
    check_duplicates: Annotated[
        bool, typer.Option(help="Find the same image under two names, and keep it in one split.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Open every image once, find duplicates, split by patient, and write a datalist for training.

    Sources for your own images: folder (one sub-folder per class), csv, dicom-folder.

    Sources that are public collections: kermany, ieee8023, covid19-image-dataset, darkcovidnet, covid-cxnet,
    radiography, coronahack. data/README.md describes them.
    """
    from covid_monai.datasets.prepare import parse_sources
    from covid_monai.datasets.prepare import prepare as prepare_datalist
    from covid_monai.datasets.selection import parse_classes
    from covid_monai.datasets.split import check_order

    with reserve_stdout(as_json):
        datalist = prepare_datalist(
            parse_sources(source_and_root),
            output=output,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            seed=seed,
            validation_order=check_order(validation_order),
            classes=parse_classes(classes) if classes else None,
            views=[view.strip() for view in views.split(",")] if views else None,
            check_duplicates=check_duplicates,
        )
    print_summary(datalist, as_json=as_json)


@app.command(
    epilog=examples(
        "covid-monai data phantom phantoms/",
        "covid-monai data phantom phantoms/ --patients 30 --size 256 --format dicom --no-ct --seed 7",
    )
)
def phantom(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write. It must be new, empty, or hold phantoms.")
    ],
    patients: Annotated[int, typer.Option(help="Number of patients, a third of them in each class.")] = 120,
    seed: Annotated[int, typer.Option(help="Seed of the drawing; the same seed gives the same files.")] = 0,
    size: Annotated[int, typer.Option(help="Rows and columns of an image, in pixels.")] = 512,
    image_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Format of the images: dicom, jpeg, png or mixed.",
            autocompletion=complete_words("dicom", "jpeg", "png", "mixed"),
        ),
    ] = "mixed",
    ct: Annotated[bool, typer.Option(help="Draw six small CT volumes too.")] = True,
    marker: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class whose images all get a bright square in a corner: a shortcut for an audit to find.",
            autocompletion=complete_words(*DEFAULT_CLASS_NAMES),
            show_default="none",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw synthetic radiographs and CT volumes, to try the software without data of patients."""
    from covid_monai.datasets.datalist import read_datalist
    from covid_monai.phantoms.dataset import write_phantoms

    with reserve_stdout(as_json):
        written = write_phantoms(
            folder,
            patients=patients,
            seed=seed,
            size=size,
            image_format=image_format,
            ct=ct,
            planted_marker=marker,
        )
    print_summary(read_datalist(written), as_json=as_json)
