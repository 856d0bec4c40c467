"""A bundle folder, and the zip archive that it is exported to.

`Bundle` needs torch and MONAI. It is imported at its first use, so that commands which only need the archive
start fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covid_monai.bundle.bundle import Bundle

__all__ = ["Bundle"]


def __getattr__(name: str) -> Any:
    if name != "Bundle":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from covid_monai.bundle.bundle import Bundle

    return Bundle
