"""Messages for people, made from exceptions and from words that nothing here has."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from covid_monai.core.vocabulary import DecoderNotStarted, RefusedImage, UnreadableImage

TRACEBACK = "COVID_MONAI_TRACEBACK"  # environment variable: raise errors as they are


def exception_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception itself, then its cause, down to the first cause.

    MONAI wraps an exception from a transform or a config expression in one RuntimeError per level.

    >>> try:
    ...     try:
    ...         raise ValueError("the cause")
    ...     except ValueError as error:
    ...         raise RuntimeError("applying transform") from error
    ... except RuntimeError as error:
    ...     [str(cause) for cause in exception_chain(error)]
    ['applying transform', 'the cause']
    """
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def describe_error(error: BaseException) -> tuple[str, int]:
    """Return one line for people, and the exit code: 2 if the user can correct the error, else 1."""
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


def unknown_choice(kind: str, name: str, choices: Iterable[str]) -> str:
    """Return the message for a name that is not among the choices, with the closest choice if there is one.

    >>> unknown_choice("backend", "openvin", ["openvino", "torch"])
    "Unknown backend 'openvin'. Did you mean 'openvino'? Choose one of: openvino, torch."
    >>> unknown_choice("backend", "x", ["openvino", "torch"])
    "Unknown backend 'x'. Choose one of: openvino, torch."
    """
    choices = list(choices)
    close = get_close_matches(name, choices, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"Unknown {kind} {name!r}.{hint} Choose one of: {', '.join(choices)}."


def check_choice(kind: str, name: str, choices: Collection[str]) -> None:
    """Raise `ValueError` with the message of `unknown_choice` for a name that is not among the choices."""
    if name not in choices:
        raise ValueError(unknown_choice(kind, name, choices))


def first_line(error: BaseException, *, limit: int = 400) -> str:
    """Return the first line of an exception's message, or the name of its type if it has none."""
    lines = str(error).strip().splitlines()
    text = printable(lines[0]) if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    r"""Return text on one line; what a terminal would obey, and bytes that are no text, become escapes.

    >>> printable("a\x1b[2Jb\n")
    'a\\x1b[2Jb\\n'
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def without_file_name(message: str, file: str | Path) -> str:
    """Return a reader's message without the name of its file, for a caller that names the file itself.

    The name stands there with or without its folders, as it is, or as `first_line` prints it.

    >>> without_file_name("a.dcm: The file is empty.", "scans/a.dcm")
    'The file is empty.'
    """
    names = (Path(file).name, str(file))
    prefixes = [f"{name}: " for name in (*names, *map(printable, names))]
    return message[max(len(prefix) if message.startswith(prefix) else 0 for prefix in prefixes) :]


@contextmanager
def require_extra(name: str) -> Iterator[None]:
    """Run imports that need an extra of this package, and name it in the `ImportError` if one fails.

    >>> with require_extra("dicom"):
    ...     import no_such_package
    Traceback (most recent call last):
    ImportError: no_such_package is not installed: pip install 'covid-monai[dicom]'
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or first_line(error)
        raise ImportError(f"{missing} is not installed: pip install 'covid-monai[{name}]'") from error


@contextmanager
def name_file_in_errors(path: Path) -> Iterator[None]:
    """Turn every exception of the block into one that names the file, tells the cause and the way out.

    Raises:
        DecoderNotStarted: As it is, because it is not about the file.
        RefusedImage: With its reason and the file's name.
        UnreadableImage: In place of any other exception, which is its cause.
    """
    prefix = f"{path.name}: "
    try:
        yield
    except DecoderNotStarted:
        raise
    except RefusedImage as error:
        raise RefusedImage(error.reason, prefix + without_file_name(error.detail, path)) from error
    except UnreadableImage as error:
        raise type(error)(prefix + without_file_name(str(error), path)) from error
    except Exception as error:  # every decoder has exceptions of its own
        cause = f"{type(error).__name__}: {first_line(error, limit=200)}"
        problem = f"The file cannot be decoded ({cause}). It may be damaged: fetch it from its source again."
        if isinstance(error, FileNotFoundError):
            problem = "There is no such file. Check the path."
        elif isinstance(error, PermissionError):
            problem = "There is no permission to read the file. Change its permissions."
        raise UnreadableImage(prefix + problem) from error
