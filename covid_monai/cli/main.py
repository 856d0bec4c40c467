"""The command `covid-monai`."""

import gc
import logging
import os
import sys
import tomllib
import warnings
from importlib import resources
from typing import Annotated

import typer

from covid_monai import __version__
from covid_monai.cli import bundle, data, worker
from covid_monai.cli.adapt import adapt
from covid_monai.cli.app import app as page
from covid_monai.cli.compare import compare
from covid_monai.cli.evaluate import evaluate
from covid_monai.cli.experiment import experiment
from covid_monai.cli.predict import predict
from covid_monai.cli.score_archive import score_archive
from covid_monai.cli.serve import serve
from covid_monai.cli.train import train
from covid_monai.core.errors import TRACEBACK, describe_error
from covid_monai.core.vocabulary import RESEARCH_USE

_EXAMPLES: dict[str, list[str]] = tomllib.loads(
    resources.files(__package__).joinpath("examples.toml").read_text("utf-8")
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, group in (("bundle", bundle.app), ("data", data.app), ("worker", worker.app)):
    app.add_typer(group, name=name)
commands = (adapt, page, compare, evaluate, experiment, bundle.export, predict, score_archive, serve, train)
for command in commands:
    app.command()(command)


def _add_examples(group: typer.Typer, words: str) -> None:
    """End the help page of each command with the examples of `examples.toml`."""
    group.info.epilog = _epilog(words)
    for command in group.registered_commands:
        name = str(command.name or getattr(command.callback, "__name__", ""))
        command.epilog = _epilog(f"{words} {name.replace('_', '-')}")
    for below in group.registered_groups:
        if below.typer_instance is not None:
            _add_examples(below.typer_instance, f"{words} {below.name}")


def _epilog(words: str) -> str:
    examples = "\n".join(["Examples:", *_EXAMPLES[words]])
    states_notice = words in ("covid-monai", "covid-monai app", "covid-monai serve", "covid-monai worker")
    return f"{examples}\n\n{RESEARCH_USE}" if states_notice else examples


_add_examples(app, "covid-monai")


def main() -> None:
    """Run the command line. An error is one line on the standard error and an exit code.

    The exit code is 2 for errors that the user can correct, and 1 for others.
    """
    try:
        app()
    except BrokenPipeError:  # the reader of a pipe, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # typer has already turned its own into SystemExit
        if os.environ.get(TRACEBACK):
            raise
        line, code = describe_error(error)
        typer.echo(f"covid-monai: {line}", err=True)
        sys.exit(code)
    finally:
        gc.freeze()  # else the interpreter searches all of PyTorch for garbage at its end: half a second


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"covid-monai {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    """Classify chest radiographs with MONAI bundles: normal, pneumonia, COVID-19."""
    if not sys.warnoptions:
        # Warnings are for developers, and those of pydicom quote values, which may name a patient.
        warnings.simplefilter("ignore")
    # At every start MONAI logs that it does not find a decoder, which is not used here.
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
