"""`covid-monai compare`: compare two models on the same images by their predictions.csv."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covid_monai.cli.options import JsonOption, argument, option, print_json, reserve_stdout
from covid_monai.core.number_format import NOT_DEFINED, format_metric

if TYPE_CHECKING:
    from rich.table import Table


def compare(
    first: Annotated[Path, argument("compare.first")],
    second: Annotated[Path, argument("compare.second")],
    output: Annotated[Path | None, option("compare.output")] = None,
    split: Annotated[str, option("compare.split")] = "test",
    source: Annotated[str | None, option("compare.source")] = None,
    resamples: Annotated[int, option("compare.resamples", min=100)] = 2000,
    seed: Annotated[int, option("compare.seed")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare two models on the same images: is one better, or may the difference be chance?

    The table shows the difference of each metric, B minus A, with its 95 % interval over resampled patients.
    An interval that excludes 0 is evidence of a difference.
    """
    from rich.console import Console

    from covid_monai.core.atomic_files import write_text_atomically
    from covid_monai.evaluation.metrics.paired_comparison import compare_predictions
    from covid_monai.evaluation.metrics.prediction_table import read_predictions

    both = [read_predictions(path) for path in (first, second)]
    if source is not None:
        both = [rows.of_source(source) for rows in both]
    with reserve_stdout(as_json):
        result = compare_predictions(*both, split=split, resamples=resamples, seed=seed)
    result = {"first_file": str(first), "second_file": str(second), "source": source, **result}
    if output is not None:
        text = json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False)
        write_text_atomically(output, f"{text}\n")
    if as_json:
        print_json(result)
        return
    Console().print(_table(result))
    # typer.echo does not break paths over lines.
    typer.echo(f"A: {first}\nB: {second}\nDecision: {result['rule']}.")
    if output is not None:
        typer.echo(f"Figures: {output}")


def _table(result: Mapping[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(
        title=f"Split {result['split']}: {result['images']} images, {result['patients']} patients",
        caption="B minus A with its 95 % interval; p: chance of such a difference between equal models",
    )
    table.add_column("")
    for heading in ("A", "B", "B minus A", "95 % interval", "p"):
        table.add_column(heading, justify="right")
    for metric, values in result["metrics"].items():
        difference, p = values["difference"], values["p_value"]
        interval = "no interval"
        if difference["low"] is not None:
            interval = f"{difference['low']:+.3f} to {difference['high']:+.3f}"
        table.add_row(
            metric.replace("_", " ").replace("auroc", "AUROC"),
            *(format_metric(values[which]["value"]) for which in ("first", "second")),
            NOT_DEFINED if difference["value"] is None else f"{difference['value']:+.3f}",
            interval,
            "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        )
    return table
