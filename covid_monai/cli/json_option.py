"""`--json`: what a command found, as one document for programs. docs/command-line.md has the convention."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on the standard output, for programs.")
]


@contextmanager
def apart(as_json: bool) -> Iterator[None]:
    """While the block works, keep what libraries print off the standard output, if a program reads it."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def print_json(document: Mapping[str, Any]) -> None:
    """Print the document: ASCII, so that every reader decodes it, and with no number that JSON has not."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))
