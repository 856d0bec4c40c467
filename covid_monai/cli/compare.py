"""`covid-monai compare`: compare two models on the same images by their predictions.csv."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covid_monai.cli.options import JsonOption, argument, option, print_json, reserve_stdout
from covid_monai.core.number_format import NOT_DEFINED, format_metric

if TYPE_CHECKING:
    from rich.table import Table

_BETWEEN = "vs"  # stands between the tables of the models


def compare(
    tables: Annotated[list[Path], argument("compare.tables")],
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

    To compare recipes rather than two trained networks, train each with several seeds. Give the tables of A,
    the word vs, and the tables of B. The intervals then hold the chance of the training, too.
    """
    from rich.console import Console

    from covid_monai.core.atomic_files import write_text_atomically
    from covid_monai.evaluation.metrics.paired_comparison import compare_predictions
    from covid_monai.evaluation.metrics.prediction_table import read_predictions

    files = _by_model(tables)
    both = [[read_predictions(path) for path in paths] for paths in files]
    if source is not None:
        both = [[rows.of_source(source) for rows in model] for model in both]
    with reserve_stdout(as_json):
        result = compare_predictions(*both, split=split, resamples=resamples, seed=seed)
    first, second = ([str(path) for path in paths] for paths in files)
    result = {"first_files": first, "second_files": second, "source": source, **result}
    if output is not None:
        text = json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False)
        write_text_atomically(output, f"{text}\n")
    if as_json:
        print_json(result)
        return
    Console().print(_table(result))
    # typer.echo does not break paths over lines.
    typer.echo("\n".join([*(f"A: {path}" for path in first), *(f"B: {path}" for path in second)]))
    typer.echo(f"Decision: {result['rule']}.\n{result['scope']}.")
    if result["caution"]:
        typer.echo(f"{result['caution']}: --source NAME.")
    if output is not None:
        typer.echo(f"Figures: {output}")


def _by_model(tables: Sequence[Path]) -> tuple[Sequence[Path], Sequence[Path]]:
    """Return the tables of A and of B: two tables, or the word `vs` between several."""
    words = [str(path) for path in tables]
    if _BETWEEN not in words and len(tables) == 2:
        return tables[:1], tables[1:]
    place = words.index(_BETWEEN) if words.count(_BETWEEN) == 1 else 0
    first, second = tables[:place], tables[place + 1 :]
    if not first or not second:
        raise ValueError(
            "The arguments do not say which tables are of A and which are of B. Give two tables, or several "
            f"with the word {_BETWEEN} between the models, such as a0.csv a1.csv {_BETWEEN} b0.csv b1.csv."
        )
    return first, second


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
