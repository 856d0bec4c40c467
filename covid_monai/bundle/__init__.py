"""A bundle folder, and the zip archive that it is exported to."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covid_monai.bundle.bundle import Bundle

__all__ = ["Bundle"]


def __getattr__(name: str) -> Any:
    """Import `Bundle` at its first use, so that commands without torch and MONAI start fast."""
    if name != "Bundle":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from covid_monai.bundle.bundle import Bundle

    return Bundle
