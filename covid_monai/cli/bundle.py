"""`covid-monai bundle`: check a bundle as a whole."""

from pathlib import Path
from typing import Annotated

import typer

from covid_monai.cli import examples
from covid_monai.cli.options import JsonOption, print_json, reserve_stdout

app = typer.Typer(
    no_args_is_help=True,
    help="Check a bundle that was exported.",
    epilog=examples("covid-monai bundle verify covid_cxr_classification-0.1.0.zip"),
)

EXAMPLES = examples(
    "covid-monai bundle verify covid_cxr_classification-0.1.0.zip",
    "covid-monai bundle verify /opt/models/covid_cxr_classification",
)


@app.command(epilog=EXAMPLES)
def verify(
    path: Annotated[
        Path, typer.Argument(metavar="DIR|ZIP", help="Archive of covid-monai export, or its unpacked folder.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check that an exported bundle is complete and that its parts belong together.

    The command checks every digest, weights against preprocessing and classes, and the probabilities of
    weights, TorchScript and ONNX on twelve phantoms. Exit code: 0 if all is well, 2 if not.
    """
    from covid_monai.export import verify_bundle

    with reserve_stdout(as_json):
        record = verify_bundle(path)
    if as_json:
        print_json(record)
        return
    parity = record["parity"]["max_abs_difference"]
    differences = ", ".join(f"{name} {value:.0e}" for name, value in parity.items())
    typer.echo(
        f"{record['name']} {record['version']} is complete. Largest probability difference: {differences}"
    )
    typer.echo(f"Weights SHA-256 {record['weights_sha256']}")
