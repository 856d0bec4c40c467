"""Imports that leave out what a process does not need, or that must not meet another library.

`import monai` imports all of MONAI, whichever part is asked for (`monai/__init__.py` loads every submodule),
and with it matplotlib, pandas, scikit-learn, Ignite, MLflow and others if they are installed. A prediction
uses none of them. `covid-monai predict` on one JPEG takes 2.6 s of processor time with
`import_monai_for_prediction`, 3.0 s with hidden packages only, 5.1 s with a paused garbage collector only,
and 6.3 s with a plain `import monai` (processor time, median of 5, two loaded cores). A cold start must not
exceed 3 s.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# MONAI imports these packages if they are installed, and works without them for a prediction.
NOT_FOR_PREDICTION = (
    *("fire", "ignite", "IPython", "jsonschema", "lightning", "matplotlib", "mlflow", "pandas", "psutil"),
    *("pynvml", "scipy.signal", "sklearn", "tensorboard", "tensorboardX", "torchvision", "transformers"),
)
_SWIG_TABLE = "swig_runtime_data"


@contextmanager
def hide_modules(*names: str) -> Iterator[None]:
    """Let an import of these modules fail in the block, unless they are imported already.

    A module that is imported in the block works without them until the process ends. So this is only for
    processes that do nothing else afterwards.

    >>> with hide_modules("tabnanny"):
    ...     import tabnanny
    Traceback (most recent call last):
    ModuleNotFoundError: import of tabnanny halted; None in sys.modules
    >>> import tabnanny
    """
    hidden = [name for name in names if name not in sys.modules]
    # None is Python's documented way to make an import fail.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # the type excludes None
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def import_monai_for_prediction() -> None:
    """Import MONAI in less than half the time, for a process that only predicts."""
    gc.disable()  # modules stay and contain little garbage, so a collection during the import finds nothing
    try:
        with hide_modules(*NOT_FOR_PREDICTION):
            import monai  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def import_faiss() -> ModuleType:
    """Import Faiss with a table of C++ types that it does not share with GDCM.

    Python modules made with SWIG keep their C++ types in one common table, a hidden module in `sys.modules`.
    Faiss and GDCM both register a type "iterator" there. If GDCM was imported first, Faiss uses GDCM's
    functions for its own objects, and the process crashes. So the table is removed during the import.
    """
    if "faiss" in sys.modules:
        return sys.modules["faiss"]
    shared = _remove_modules(_SWIG_TABLE)
    try:
        import faiss

        vars(faiss)["_covid_monai_swig_table"] = _remove_modules(_SWIG_TABLE)  # else it would be freed
    finally:
        sys.modules.update(shared)
    return faiss


def _remove_modules(prefix: str) -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(prefix)}
