"""Base class of the settings that a training stores as JSON files beside the weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import UnionType
from typing import Any, Self, get_args, get_origin

from covid_monai.core.atomic_files import write_text_atomically


class JsonRecord:
    """A dataclass that is stored as one JSON file."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`."""
        values = asdict(self)  # type: ignore[call-overload]  # every subclass is a dataclass
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make the record of what `to_json` returned.

        Raises:
            ValueError: If a value is missing or of the wrong kind.
        """
        try:
            return cls._from_values(values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"This is no {cls.__name__}: a value is missing or of the wrong kind "
                f"({type(error).__name__}: {error})."
            ) from error

    @classmethod
    def _from_values(cls, values: Mapping[str, Any]) -> Self:
        """Make each field of its value in the file, which has a list for a tuple; `X | None` may be None."""
        made = {}
        for each in fields(cls):  # type: ignore[arg-type]
            kind, value = each.type, values[each.name]
            if isinstance(kind, UnionType):
                kind = get_args(kind)[0] if value is not None else lambda nothing: nothing
            made[each.name] = (get_origin(kind) or kind)(value)  # type: ignore[operator]
        return cls(**made)

    def save(self, path: Path) -> None:
        """Write the record as JSON, in one step."""
        write_text_atomically(Path(path), json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If the file is missing.
            ValueError: If the file is damaged or holds something else; the message names the file.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:  # a file of brackets is nested too deeply
            raise ValueError(
                f"{path} cannot be used: {str(error).removesuffix('.')}. Restore the file, or train again."
            ) from error
