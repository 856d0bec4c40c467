"""The command `covid-monai`."""

import gc
import logging
import os
import sys
import warnings
from typing import Annotated

import typer

from covid_monai import __version__
from covid_monai.cli import app as app_command
from covid_monai.cli import bundle as bundle_command
from covid_monai.cli import compare as compare_command
from covid_monai.cli import data, examples
from covid_monai.cli import evaluate as evaluate_command
from covid_monai.cli import experiment as experiment_command
from covid_monai.cli import predict as predict_command
from covid_monai.cli import score_archive as score_archive_command
from covid_monai.cli import serve as serve_command
from covid_monai.cli import worker as worker_command
from covid_monai.core.errors import exception_chain, first_line
from covid_monai.core.vocabulary import RESEARCH_USE

TRACEBACK = "COVID_MONAI_TRACEBACK"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "covid-monai data phantom phantoms/",
        "covid-monai predict image.dcm",
        "covid-monai predict --help",
    )
    + f"\n\n{RESEARCH_USE}",
)
app.add_typer(bundle_command.app, name="bundle")
app.add_typer(data.app, name="data")
app.add_typer(worker_command.app, name="worker")
app.command(epilog=app_command.EXAMPLES)(app_command.app)
app.command(epilog=compare_command.EXAMPLES)(compare_command.compare)
app.command(epilog=evaluate_command.EXAMPLES)(evaluate_command.evaluate)
app.command(epilog=experiment_command.EXAMPLES)(experiment_command.experiment)
app.command(epilog=bundle_command.EXPORT_EXAMPLES)(bundle_command.export)
app.command(epilog=predict_command.EXAMPLES)(predict_command.predict)
app.command(epilog=score_archive_command.EXAMPLES)(score_archive_command.score_archive)
app.command(epilog=serve_command.EXAMPLES)(serve_command.serve)


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
        line, code = _explain(error)
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


def _explain(error: Exception) -> tuple[str, int]:
    """Return one line for people, and the exit code."""
    # The outermost exception of these types: it names the file, which its cause may not.
    for cause in exception_chain(error):
        if isinstance(cause, ImportError):
            line = first_line(cause)
            if "pip install" not in line:
                line += ". Install the missing packages: pip install 'covid-monai[export,train]'"
            return line, 2
        if isinstance(cause, ValueError | OSError):
            return first_line(cause), 2
    *_, cause = exception_chain(error)
    message = f"Unexpected {type(cause).__name__} ({first_line(cause)})."
    return f"{message} Set {TRACEBACK}=1 to see the traceback.", 1
