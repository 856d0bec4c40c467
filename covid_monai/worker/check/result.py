"""What a check has found, as a sentence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One sentence of a check.

    Args:
        word: `ok`, `note` or `FAIL`.
        text: What was found and, if it is wrong, what to do.
    """

    word: str
    text: str

    @property
    def failed(self) -> bool:
        """Whether the service cannot work so."""
        return self.word == "FAIL"


def fine(text: str) -> Finding:
    """All is well."""
    return Finding("ok", text)


def warning(text: str) -> Finding:
    """It will work, but a person should know."""
    return Finding("note", text)


def failure(text: str) -> Finding:
    """It will not work."""
    return Finding("FAIL", text)
