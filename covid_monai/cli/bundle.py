"""`covid-monai bundle`: what concerns a bundle as a whole."""

from pathlib import Path
from typing import Annotated

import typer

from covid_monai.cli import examples
from covid_monai.cli.bundle_option import BundleOption, bundle_folder
from covid_monai.cli.json_option import JsonOption, apart, print_json

app = typer.Typer(
    no_args_is_help=True,
    help="Quantise a bundle, or check one that was exported.",
    epilog=examples(
        "covid-monai bundle verify covid_cxr_classification-0.1.0.zip",
        "covid-monai bundle quantize --bundle runs/mine --datalist my.json",
    ),
)

QUANTIZE_EXAMPLES = examples(
    "covid-monai bundle quantize --bundle runs/mine --datalist my.json",
    "covid-monai predict --bundle runs/mine --precision int8 images/",
)
EXAMPLES = examples(
    "covid-monai bundle verify covid_cxr_classification-0.1.0.zip",
    "covid-monai bundle verify /opt/models/covid_cxr_classification",
)


@app.command(epilog=EXAMPLES)
def verify(
    path: Annotated[
        Path, typer.Argument(metavar="DIR|ZIP", help="An archive of covid-monai export, or its folder.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check that an exported bundle is whole and of one piece; name what is wrong.

    Every digest, weights against preprocessing and classes, and the probabilities of weights, TorchScript
    and ONNX on twelve phantoms. Exit code: 0 if all is well, 2 if not.
    """
    from covid_monai.export import verify_bundle

    with apart(as_json):
        record = verify_bundle(path)
    if as_json:
        print_json(record)
        return
    parity = record["parity"]["max_abs_difference"]
    differences = ", ".join(f"{name} {value:.0e}" for name, value in parity.items())
    typer.echo(
        f"{record['name']} {record['version']}: whole. Largest difference of a probability: {differences}"
    )
    typer.echo(f"Weights SHA-256 {record['weights_sha256']}")


@app.command(epilog=QUANTIZE_EXAMPLES)
def quantize(
    datalist: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The one that the bundle was trained on: training, validation."),
    ],
    bundle: BundleOption = None,
    dataset_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the images lie now, if they have moved since `prepare`."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read and preprocess.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Make the network in 8 bits for `predict --precision int8`, if it is as good on validation.

    Writes models/model_int8.onnx, and beside it model_int8.json with what was measured. Nothing is written
    where the AUROC on the validation images falls by more than 0.002.
    """
    folder = bundle_folder(bundle)

    from covid_monai.bundle import Bundle
    from covid_monai.bundle.bundle_zip import SUMS
    from covid_monai.datasets.datalist import read_datalist
    from covid_monai.inference.quantize import quantise

    if (folder / SUMS).is_file():
        raise ValueError(f"{folder} was exported, and stays as it is: quantise its source, and export again.")
    data, source = read_datalist(datalist), Bundle(folder)
    if data.class_names != source.class_names:
        raise ValueError(
            f"{datalist} has the classes {', '.join(data.class_names)}, the bundle "
            f"{', '.join(source.class_names)}: give the datalist that it was trained on."
        )
    images = (data.records(split, dataset_dir) for split in ("training", "validation"))
    with apart(as_json):
        record = quantise(source, *images, workers=workers)
    if as_json:
        print_json({**record, "file": str(source.quantised_path)})
        return
    typer.echo(f"AUROC in fp32 on {record['validation_images']} validation images: {record['auroc']:.4f}")
    for name, found in record["backends"].items():
        typer.echo(
            f"int8 by {name}: AUROC lower by {found['auroc_loss']:.4f}; probabilities differ by at most "
            f"{found['max_abs_difference']:.3f}, {found['decisions_changed']:.1%} of the decisions change"
        )
    typer.echo(f"Written to {source.quantised_path}.")
