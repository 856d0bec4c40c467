"""MONAI without what a prediction does not need of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Plots, tables, metrics, training and its tracking: MONAI imports each of them where it is installed, and
# does without it where it is not. Together they take longer than all the rest of a prediction.
NOT_NEEDED = (
    *("fire", "ignite", "IPython", "jsonschema", "lightning", "matplotlib", "mlflow", "pandas", "psutil"),
    *("pynvml", "scipy.signal", "sklearn", "tensorboard", "tensorboardX", "torchvision", "transformers"),
)


@contextmanager
def import_lightly() -> Iterator[None]:
    """Hide `NOT_NEEDED` for the block, in which MONAI is imported for the first time in this process.

    MONAI's parts that need them then raise its `OptionalImportError`, for as long as the process lives:
    for a command that only predicts.
    """
    hidden = [name for name in NOT_NEEDED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
