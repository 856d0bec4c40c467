"""What every tab of every visitor works with: engines, limits, and where images may come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from covid_monai.api.uploads import Limits

if TYPE_CHECKING:
    from covid_monai.api.engine import Engine
    from covid_monai.bundle import Bundle


@dataclass(frozen=True)
class Model:
    """One bundle at the desk.

    Args:
        name: What the page calls it; no other model of the desk has this name.
        bundle: Its folder, for model card and figures.
        engine: Its classifier.
    """

    name: str
    bundle: "Bundle"
    engine: "Engine"


@dataclass(frozen=True)
class Desk:
    """Shared by all visitors, and changed by none.

    Args:
        models: Name to model; the first is the one that the image and batch tabs use.
        limits: Of what one visitor hands in at once, and of what is kept for them.
        folder: Images on the server that visitors may choose from; None if there are none.
        allow_urls: Whether visitors may name a URL that the server then fetches.
        url_hosts: Hosts that may be fetched from although their addresses are not public.
    """

    models: Mapping[str, Model]
    limits: Limits = field(default_factory=Limits)
    folder: Path | None = None
    allow_urls: bool = False
    url_hosts: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("a desk needs at least one bundle")
        object.__setattr__(self, "models", MappingProxyType(dict(self.models)))

    @property
    def model(self) -> Model:
        """The first model."""
        return next(iter(self.models.values()))
