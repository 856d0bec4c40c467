"""From an exception to what a person is told of it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception itself, then what caused it, down to the first cause.

    MONAI wraps what a transform or a config expression raises in one RuntimeError per level.

    >>> try:
    ...     try:
    ...         raise ValueError("the cause")
    ...     except ValueError as error:
    ...         raise RuntimeError("applying transform") from error
    ... except RuntimeError as error:
    ...     [str(cause) for cause in causes(error)]
    ['applying transform', 'the cause']
    """
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def unknown(kind: str, word: str, known: Iterable[str]) -> str:
    """What to say of a word that is none of those that are known, and which one may be meant.

    >>> unknown("backend", "openvin", ["openvino", "torch"])
    "'openvin' is no backend; did you mean openvino? There are: openvino, torch."
    >>> unknown("backend", "x", ["openvino", "torch"])
    "'x' is no backend. There are: openvino, torch."
    """
    known = list(known)
    close = get_close_matches(word, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"{word!r} is no {kind}{hint} There are: {', '.join(known)}."


def first_line(error: BaseException, *, limit: int = 400) -> str:
    """The first line of an exception's message, or the name of its type if it has none."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import what an extra of this package brings.

    Raises:
        ImportError: If it is missing; names what is missing and the extra.

    >>> with extra("dicom"):
    ...     import no_such_package
    Traceback (most recent call last):
    ImportError: no_such_package is not installed: pip install 'covid-monai[dicom]'
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or first_line(error)
        raise ImportError(f"{missing} is not installed: pip install 'covid-monai[{name}]'") from error
