"""`covid-monai experiment`: run a published experiment with one command."""

from pathlib import Path
from typing import Annotated, Any

import typer

from covid_monai.bundle.shipped import shipped_bundle
from covid_monai.cli.options import JsonOption, argument, complete_words, option, print_json, reserve_stdout
from covid_monai.core.errors import unknown_choice


def complete_setting(incomplete: str) -> list[str]:
    """Complete the name of a setting of train.yaml."""
    return [f"{name}=" for name in _setting_names(_train_config()) if name.startswith(incomplete)]


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

    train_config = _train_config()
    given = _parse_settings(settings or [], _setting_names(train_config))
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


def _train_config() -> Path:
    return shipped_bundle() / "configs" / "train.yaml"


def _setting_names(train_config: Path) -> list[str]:
    """Return the names of the settings of train.yaml in its order."""
    import yaml

    return list(yaml.safe_load(train_config.read_text(encoding="utf-8")))


def _parse_settings(words: list[str], known: list[str]) -> dict[str, Any]:
    import yaml

    from covid_monai.bundle.config_editing import quote_data

    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise ValueError(f"--set {name}: give NAME=VALUE, such as max_epochs=1.")
        # Other names are parts of a section, such as loss#weight.
        if name.isidentifier() and name not in known:
            raise ValueError(f"--set: {unknown_choice('train.yaml setting', name, known)}")
    settings = {name: yaml.safe_load(value) for name, _, value in pairs}
    quote_data([*settings.values()])  # refuses a part of a config now, not when the data are prepared
    return settings
