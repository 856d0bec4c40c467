"""`configs/inference.yaml` as data: what prediction needs is built from a list of allowed parts.

MONAI's `ConfigParser` evaluates each text that begins with `$` and calls each `_target_`, so the YAML of a
bundle is a program for it. Here references (`@image_size`) are replaced, and everything else that MONAI would
evaluate, import or look up is refused by name. Sections that prediction does not use are not looked at.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from covid_monai.core.errors import first_line

# Parts that neither load code nor open files, apart from the readers. Their source was searched for arguments
# that become objects: a reader (LoadImaged), pretrained weights (networks). All others take plain values.
ALLOWED_PARTS: dict[str, tuple[str, ...]] = {
    "monai.transforms": (
        *("AdjustContrastd", "AsDiscreted", "BorderPadd", "CastToTyped", "CenterScaleCropd"),
        *("CenterSpatialCropd", "Compose", "ConcatItemsd", "CopyItemsd", "CropForegroundd", "DeleteItemsd"),
        *("DivisiblePadd", "EnsureChannelFirstd", "EnsureTyped", "Flipd", "GaussianSharpend"),
        *("GaussianSmoothd", "HistogramNormalized", "LoadImaged", "MedianSmoothd", "NormalizeIntensityd"),
        *("Orientationd", "RepeatChanneld", "Resized", "ResizeWithPadOrCropd", "Rotate90d"),
        *("ScaleIntensityRangePercentilesd", "ScaleIntensityRanged", "ScaleIntensityd", "SelectItemsd"),
        *("ShiftIntensityd", "Spacingd", "SpatialPadd", "SqueezeDimd", "ThresholdIntensityd", "ToTensord"),
        *("Transposed", "Zoomd"),
    ),
    "monai.networks.nets": (
        *("DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264", "EfficientNetBN", "densenet121"),
        *("densenet169", "densenet201", "densenet264", "resnet10", "resnet101", "resnet152", "resnet18"),
        *("resnet34", "resnet50", "UNet"),
    ),
    "covid_monai.transforms": ("CropBorderd", "LungWindowd", "PercentileRescaled"),
    "covid_monai.networks": ("build_network",),
}
# Of MONAI's own readers, NumpyReader unpickles, and LoadImaged falls back to it where no reader is given.
READERS = ("covid_monai.readers.RadiographReader", "covid_monai.readers.VolumeReader")
# Arguments with a list of values, and the parts that must give them because their own default is not safe.
_LIMITED: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "reader": (("LoadImaged",), READERS),
    # True downloads weights, and text is the path of a file.
    "pretrained": (("EfficientNetBN",), (False,)),
}
_NAMES = ("key", "keys", "meta_keys", "model_name", "name", "names", "source_key")  # arguments that are names
# Text that other arguments may have. Nothing looks these words up outside of its own list.
_WORDS = (
    *(
        "LAS",
        "LPS",
        "RAS",
        "all",
        "area",
        "batch",
        "bicubic",
        "bilinear",
        "border",
        "constant",
        "edge",
        "end",
    ),
    *("float16", "float32", "float64", "inside", "int16", "int32", "int64", "longest", "lung", "lungs"),
    *("mediastinum", "minimum", "nearest", "nearest-exact", "reflect", "reflection", "relu"),
    *("symmetric", "tensor", "trilinear", "uint8", "uint16", "wrap", "zeros"),
)
_CLASS_COUNT = "$len(@class_names)"  # the one expression that is understood
_REFERENCE = re.compile(r"@\w+(?:(?:::|#)\w+)*", re.ASCII)
_NAME = re.compile(r"\w[\w.-]{0,63}")
_MAX_BYTES, _MAX_DEPTH, _MAX_ITEMS = 2**20, 40, 10_000


class UntrustedCode(ValueError):
    """A bundle holds something that would run as code, and the user did not say that it may."""


class ConfigError(ValueError):
    """A config of a bundle is damaged, or not in the form that is read."""


class _Loader(yaml.SafeLoader):
    """YAML without tags that make objects, without aliases, which can grow without limit, or double keys."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(problem="an alias (*name) is not read", problem_mark=mark)
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise yaml.composer.ComposerError(problem=f"more than {_MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := next((key for number, key in enumerate(keys) if key in keys[:number]), None):
            problem = f"the key {str(twice)[:40]!r} occurs twice"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON config of a bundle as plain values; nothing in it is evaluated.

    Raises:
        ConfigError: It is larger than 1 MiB, is not valid, has tags, aliases or a key twice, or is not a
            mapping.
    """
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB, which no config of a bundle is.")
    try:
        # _Loader is a SafeLoader.
        content = json.loads(text) if path.suffix == ".json" else yaml.load(text, _Loader)  # noqa: S506
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or first_line(error, limit=100)
        raise ConfigError(
            f"{path} cannot be read{place}: {problem}. Correct the file, or copy it again."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a mapping of names to values. Copy the file again.")
    return content


def shorten(value: object) -> str:
    """Return text of a stranger for a message: quoted, with escapes, and short."""
    shown = ascii(value)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


class SafeConfig:
    """The config of a bundle, of which only allowed parts are built.

    Args:
        path: `configs/inference.yaml`.
        settings: Values in the place of those of the file.

    Raises:
        ConfigError: See `read_config`.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._content = {**read_config(path), **settings}
        # With `+name` and `a::b` MONAI changes other sections of the same file.
        if strange := [name for name in self._content if not re.fullmatch(r"\w+", str(name))]:
            raise ConfigError(
                f"{path}: {shorten(strange[0])} is no name of a section. Write the section out."
            )

    def __getitem__(self, item_id: str) -> Any:
        """Return a value as it is written. In an id, `::` or `#` leads one level down."""
        value: Any = self._content
        for name in item_id.replace("#", "::").split("::"):
            try:
                value = value[int(name) if isinstance(value, list) else name]
            except (LookupError, TypeError, ValueError) as error:
                raise ConfigError(f"{self._path} has no {shorten(item_id)}. Add it to the file.") from error
        return value

    def resolve(self, item_id: str) -> Any:
        """Return a value with all references in it replaced by the values that they lead to.

        Raises:
            ConfigError: A reference leads nowhere or in a circle, or there are more than 10,000 values.
            UntrustedCode: A text that begins with `@` or `%` is no reference; MONAI might read a file for it.
        """
        return self._resolve(self[item_id], item_id, depth=0, left=iter(range(_MAX_ITEMS)))

    def _resolve(self, value: Any, item_id: str, *, depth: int, left: Iterator[int]) -> Any:
        if depth > _MAX_DEPTH or next(left, None) is None:
            raise ConfigError(
                f"{self._path}: {shorten(item_id)} is too large: references lead in a circle, or there are "
                f"more than {_MAX_DEPTH} levels or {_MAX_ITEMS:,} values."
            )
        resolve = partial(self._resolve, depth=depth + 1, left=left)
        if isinstance(value, dict):
            return {key: resolve(value[key], f"{item_id}::{key}") for key in value}
        if isinstance(value, list | tuple):
            return [resolve(item, f"{item_id}::{number}") for number, item in enumerate(value)]
        if isinstance(value, str) and value[:1] in ("@", "%"):
            if not _REFERENCE.fullmatch(value):
                raise self._refusal(item_id, value)
            return resolve(self[value[1:]], value[1:])
        if value is not None and not isinstance(value, str | int | float):
            raise ConfigError(f"{self._path}: {shorten(item_id)} is {shorten(value)}. Give text or a number.")
        return value

    def build(self, item_id: str) -> Any:
        """Build a part, such as `preprocessing`, with the parts in it.

        Raises:
            UntrustedCode: It is not one of `ALLOWED_PARTS`, or has an argument that would run as code.
            ConfigError: See `resolve`; or the part does not take its arguments.
        """
        return self._build(self.resolve(item_id), item_id)

    def check(self, item_id: str) -> None:
        """Raise what `build` raises for a part that it refuses, but do not build the part."""
        self._prepare(self.resolve(item_id), item_id)

    def _build(self, part: Any, item_id: str) -> Any:
        make, arguments = self._prepare(part, item_id)
        try:
            return make(**arguments)
        except Exception as error:  # each part has its own ways to refuse its arguments
            problem = first_line(error, limit=250)
            raise ConfigError(f"{self._path}: {item_id} cannot be built: {problem}") from error

    def _prepare(self, part: Any, item_id: str) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Return what builds a part, with its arguments."""
        if not isinstance(part, dict):
            raise self._refusal(item_id, part)
        target = part.get("_target_")
        make = _find(target)
        if make is None:
            raise self._refusal(f"{item_id}::_target_", target)
        # MONAI's `_mode_`, `_requires_` and `_disabled_` are evaluated, or call a debugger.
        names = [name for name in part if name not in ("_target_", "_desc_")]
        if strange := [name for name in names if not re.fullmatch("[A-Za-z]\\w*", str(name))]:
            raise self._refusal(f"{item_id}::{strange[0]}", part[strange[0]])
        arguments = {name: self._argument(part[name], name, f"{item_id}::{name}") for name in names}
        for name, (needing, values) in _LIMITED.items():
            if (name in arguments or make.__name__ in needing) and arguments.get(name) not in values:
                raise self._refusal(f"{item_id}::{name}", arguments.get(name))
        return make, arguments

    def _argument(self, value: Any, name: str, item_id: str) -> Any:
        """Return the argument of a part; text is data only where it is one of the known words."""
        if isinstance(value, list):
            items = enumerate(value)
            if name == "transforms":
                return [self._build(item, f"{item_id}::{number}") for number, item in items]
            return [self._argument(item, name, f"{item_id}::{number}") for number, item in items]
        if value == _CLASS_COUNT:
            return len(self["class_names"])
        if isinstance(value, str):
            is_name = name in _NAMES and _NAME.fullmatch(value)
            if not (is_name or value in _WORDS or name in _LIMITED):
                raise self._refusal(item_id, value)
        elif isinstance(value, dict):
            raise self._refusal(item_id, value)
        return value

    def _refusal(self, item_id: str, value: object) -> UntrustedCode:
        return UntrustedCode(
            f"{self._path}: {shorten(item_id)[1:-1]} is {shorten(value)}. That may run code, so it is not "
            "used. If you trust the author of the bundle, predict with --trust-code (in worker.yaml "
            "trust_code: true, in Python trust_code=True)."
        )


def _find(target: object) -> Callable[..., Any] | None:
    """Return the allowed part with a name; MONAI's parts have a short name too."""
    if not isinstance(target, str):
        return None
    module, _, name = target.rpartition(".")
    for allowed, names in ALLOWED_PARTS.items():
        if name in names and (module == allowed or (not module and allowed.startswith("monai."))):
            part: Callable[..., Any] = getattr(import_module(allowed), name)
            return part
    return None
