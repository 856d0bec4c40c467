"""What the one or two words of a reason mean: `reasons.yaml`."""

from fnmatch import fnmatchcase
from functools import cache
from importlib import resources

import yaml


@cache
def _meanings() -> dict[str, str]:
    text = resources.files(__package__).joinpath("reasons.yaml").read_text("utf-8")
    meanings: dict[str, str] = yaml.safe_load(text)
    return meanings


def find_meaning(reason: str) -> str | None:
    """Return the meaning of a reason as the rest of a sentence; None for a reason that is not known.

    >>> find_meaning("http_502")
    'the archive fails. See the log of the archive'
    """
    return next((text for name, text in _meanings().items() if fnmatchcase(reason, name)), None)


def explain_reason(reason: str) -> str:
    """Return the meaning of a reason as sentences, "" for a reason that is not known.

    >>> explain_reason("http_502"), explain_reason("no such reason")
    ('The archive fails. See the log of the archive.', '')
    """
    meaning = find_meaning(reason)
    return f"{meaning[0].upper()}{meaning[1:]}." if meaning else ""
