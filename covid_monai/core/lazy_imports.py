"""Imports without what they would bring along."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# Plots, tables, metrics, training and its tracking: MONAI imports each of them where it is installed, and
# does without it where it is not. Together they take longer than all the rest of a prediction.
NOT_FOR_PREDICTION = (
    *("fire", "ignite", "IPython", "jsonschema", "lightning", "matplotlib", "mlflow", "pandas", "psutil"),
    *("pynvml", "scipy.signal", "sklearn", "tensorboard", "tensorboardX", "torchvision", "transformers"),
)
_SWIG_TABLE = "swig_runtime_data"


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let modules that are not imported yet seem missing for the block.

    What is imported in the block does without them for as long as the process lives, also where it would
    use them later: not for a process that goes on to do other work.

    >>> with without("mailbox"):
    ...     import mailbox
    Traceback (most recent call last):
    ModuleNotFoundError: import of mailbox halted; None in sys.modules
    >>> import mailbox
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def import_faiss() -> ModuleType:
    """Import Faiss with a table of C++ types of its own.

    Modules made by SWIG share one table, in a module of that version's name. There Faiss and GDCM claim the
    same iterator: where GDCM came first, Faiss's code then walks GDCM's lists, and the process crashes.
    """
    if "faiss" in sys.modules:
        return sys.modules["faiss"]
    shared = _taken_out(_SWIG_TABLE)
    try:
        import faiss

        vars(faiss)["_covid_monai_keeps"] = _taken_out(_SWIG_TABLE)  # else the table would be freed
    finally:
        sys.modules.update(shared)
    return faiss


def _taken_out(prefix: str) -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(prefix)}


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Keep the garbage collector away from what the block imports: modules stay, and hold little garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def import_monai_for_prediction() -> None:
    """Import MONAI in half the time, for a process that predicts and does nothing else."""
    with _nothing_collected(), without(*NOT_FOR_PREDICTION):
        import monai  # noqa: F401
