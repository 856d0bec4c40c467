"""What a service takes, and from whom; imports neither torch nor FastAPI."""

from dataclasses import dataclass, field

from covid_monai.api.uploads import MIB, Limits


@dataclass(frozen=True)
class Settings:
    """What the service takes, and from whom.

    Args:
        limits: Of one request.
        max_held_bytes: Of the bodies of all requests together.
        body_seconds: Longest time for one body to come in, and for one image out of an archive.
        dicomweb_roots: DICOMweb services that images may be fetched from; none switches fetching off.
        loopback: Whether it listens on loopback, and answers only to the names of loopback.

    Raises:
        ValueError: If a DICOMweb root is no address.
        ImportError: If fetching needs an extra that is not installed.
    """

    limits: Limits = field(default_factory=Limits)
    max_held_bytes: int = 2048 * MIB
    body_seconds: float = 120.0
    dicomweb_roots: tuple[str, ...] = ()
    loopback: bool = True

    def __post_init__(self) -> None:
        if self.dicomweb_roots:  # what is wrong with them is said before a model is loaded
            from covid_monai.api.dicomweb import connection_to

            for root in self.dicomweb_roots:
                connection_to(root, seconds=self.body_seconds)
