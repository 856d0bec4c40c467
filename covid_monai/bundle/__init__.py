"""A bundle on disk, and the zip it is handed on as.

`covid_monai.bundle.bundle` imports torch and MONAI; its names are imported when they are first asked for, so
that commands which only need the zip stay light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covid_monai.bundle.bundle import (
        SETTINGS,
        SHIPPED_SECTION,
        Bundle,
        CheckpointError,
        bake_root,
        load_checkpoint,
        save_atomically,
        stored_temperature,
        string_literal,
    )

__all__ = [
    "SETTINGS",
    "SHIPPED_SECTION",
    "Bundle",
    "CheckpointError",
    "bake_root",
    "load_checkpoint",
    "save_atomically",
    "stored_temperature",
    "string_literal",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from covid_monai.bundle import bundle

    return getattr(bundle, name)
