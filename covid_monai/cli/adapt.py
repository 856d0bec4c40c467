"""`covid-monai adapt`: a bundle for one hospital, made from another bundle and images of that hospital."""

from pathlib import Path
from typing import Annotated, Any

import typer

from covid_monai.bundle.shipped import find_bundle
from covid_monai.cli.options import (
    BundleOption,
    DeviceOption,
    JsonOption,
    TrustCodeOption,
    option,
    print_json,
    reserve_stdout,
)
from covid_monai.core.vocabulary import RESEARCH_USE


def adapt(
    output: Annotated[Path, option("adapt.output")],
    bundle: BundleOption = None,
    datalist: Annotated[Path | None, option("adapt.datalist")] = None,
    normals: Annotated[Path | None, option("adapt.normals")] = None,
    unlabelled: Annotated[Path | None, option("adapt.unlabelled")] = None,
    least_share_of_normals: Annotated[float | None, option("adapt.least_share")] = None,
    fine_tune_heads: Annotated[bool, option("adapt.fine_tune_heads", "--fine-tune-heads")] = False,
    site: Annotated[str | None, option("adapt.site")] = None,
    seed: Annotated[int, option("adapt.seed")] = 0,
    device: DeviceOption = None,
    trust_code: TrustCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a bundle for your hospital: set the cuts with your own images, and recalibrate.

    With 59 normal adults or more, at most 5 % of normal patients are called covid, with a confidence of 95 %.
    With 20 patients of every class, temperature and prediction sets are fitted too. The figures before and
    after are those of patients that were not used.
    """
    folder = find_bundle(bundle)

    from covid_monai.adaptation.adapt import adapt_bundle

    with reserve_stdout(as_json):
        report = adapt_bundle(
            folder,
            output,
            datalist=datalist,
            normals=normals,
            unlabelled=unlabelled,
            least_share_of_normals=least_share_of_normals,
            fine_tune=fine_tune_heads,
            site=site,
            seed=seed,
            device=device,
            trust_code=trust_code,
        )
    if as_json:
        print_json(report)
    else:
        _print_report(report, output)
    typer.echo(RESEARCH_USE, err=True)


def _print_report(report: dict[str, Any], output: Path) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from covid_monai.adaptation.report import how_measured, summary, table

    console = Console()
    for sentence in summary(report):
        console.print(f"- {sentence}", markup=False, highlight=False)
    rows = Table(box=box.SIMPLE_HEAD, caption=f"{how_measured(report)} Intervals are 95 % intervals.")
    rows.add_column("", overflow="fold")
    rows.add_column("before")
    rows.add_column("after")
    for row in table(report):
        rows.add_row(*map(Text, row))
    console.print(rows)
    # typer.echo does not break the path over lines.
    typer.echo(f"Bundle: {output}\nReport: {output / 'docs' / 'adaptation.md'}")
