"""MONAI bundles that classify chest images; research software, not a medical device."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covid_monai.inference.classifier import Classifier

__all__ = ["Classifier", "__version__"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import `Classifier`, and with it torch and MONAI, at its first use."""
    if name != "Classifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from covid_monai.inference.classifier import Classifier

    return Classifier
