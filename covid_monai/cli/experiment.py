"""`covid-monai experiment`: run a published experiment with one command."""

from pathlib import Path
from typing import Annotated

import typer

from covid_monai.bundle.shipped import shipped_config
from covid_monai.cli.options import (
    JsonOption,
    argument,
    complete_setting,
    complete_words,
    option,
    parse_settings,
    print_json,
    reserve_stdout,
)


def complete_protocol(incomplete: str) -> list[str]:
    """Complete the name of a protocol."""
    from covid_monai.experiments.study import PROTOCOLS

    return complete_words(*PROTOCOLS)(incomplete)


def experiment(
    study: Annotated[Path, argument("experiment.study")],
    data: Annotated[Path, option("experiment.data", envvar="COVID_MONAI_DATA")],
    output: Annotated[Path, option("experiment.output")],
    settings: Annotated[
        list[str] | None, option("experiment.settings", "--set", autocompletion=complete_setting)
    ] = None,
    protocol: Annotated[str | None, option("experiment.protocol", autocompletion=complete_protocol)] = None,
    variant: Annotated[str | None, option("experiment.variant")] = None,
    seed: Annotated[int, option("experiment.seed")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Prepare the data, train every fold, score its test images, and write result.json and table.md.

    The same command continues an interrupted experiment.
    """
    from covid_monai.core.atomic_files import write_text_atomically
    from covid_monai.experiments.pooled_results import format_table
    from covid_monai.experiments.study import read_study
    from covid_monai.experiments.study_run import run_study

    train_config = shipped_config("train.yaml")
    given = parse_settings(settings, train_config)
    with reserve_stdout(as_json):
        result = run_study(
            read_study(study, protocol=protocol, variant=variant),
            data_dir=data,
            output=output,
            train_config=train_config,
            settings=given,
            seed=seed,
        )
    table = format_table(result)
    write_text_atomically(output / "table.md", table)
    if as_json:
        print_json(result)
        return
    typer.echo(table)
    typer.echo(f"Result: {output / 'result.json'}")
