"""`covid-monai export` and `covid-monai bundle verify`: write and check the archive of a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from covid_monai.bundle.shipped import find_bundle
from covid_monai.cli.options import (
    BundleOption,
    JsonOption,
    TrustCodeOption,
    argument,
    option,
    print_json,
    reserve_stdout,
)
from covid_monai.core.vocabulary import RESEARCH_USE

_LISTED_CODE = 20
app = typer.Typer(no_args_is_help=True, help="Check a bundle that was exported.")


def export(
    output: Annotated[Path, option("export.output")],
    bundle: BundleOption = None,
    images: Annotated[list[Path] | None, option("export.images")] = None,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle as one zip: configs, weights, TorchScript, ONNX, model card, wheel, digests.

    The command writes nothing if TorchScript or ONNX give other probabilities than the weights.
    """
    folder = find_bundle(bundle)

    from covid_monai.bundle.bundle_zip import compute_sha256
    from covid_monai.export import export_bundle

    typer.echo("Converting, comparing and packing takes about half a minute...", err=True)
    with reserve_stdout(as_json):
        path = export_bundle(folder, output, images=images or (), trust_code=trust_code)
    size, digest = path.stat().st_size, compute_sha256(path)
    if as_json:
        print_json({"archive": str(path), "bytes": size, "sha256": digest, "notice": RESEARCH_USE})
    else:
        typer.echo(f"{path} ({size / 2**20:.1f} MiB)")
        typer.echo(f"SHA-256 {digest}")
    typer.echo(f"Check a copy of the archive with: covid-monai bundle verify {path}", err=True)
    typer.echo(RESEARCH_USE, err=True)


@app.command()
def verify(path: Annotated[Path, argument("verify.path")], as_json: JsonOption = False) -> None:
    """Check that an exported bundle is complete and that its parts belong together.

    The command checks every digest, weights against preprocessing and classes, and the probabilities of
    weights, TorchScript and ONNX on twelve phantoms. A folder of covid-monai adapt has the weights alone. The
    command runs no code of the bundle, but names code that this package does not know. Exit code: 0 if all is
    well, 2 if not.
    """
    from covid_monai.export import verify_bundle

    with reserve_stdout(as_json):
        record = verify_bundle(path)
    if as_json:
        print_json(record)
        return
    parity = record["parity"]["max_abs_difference"]
    differences = ", ".join(f"{name} {value:.0e}" for name, value in parity.items())
    compared = "It was not exported, so there are no other forms of its network to compare."
    if parity:
        compared = f"Largest probability difference: {differences}"
    typer.echo(f"{record['name']} {record['version']} is complete. {compared}")
    typer.echo(f"Weights SHA-256 {record['weights_sha256']}")
    if code := record["code"]:
        typer.echo("MONAI's own commands would run this code, which is not of this package:")
    for line in code[:_LISTED_CODE]:
        typer.echo(f"- {line}")
    if len(code) > _LISTED_CODE:
        typer.echo(f"and {len(code) - _LISTED_CODE} more; --json lists all.")
