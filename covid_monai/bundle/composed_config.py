"""The config of a run as MONAI has put it together: YAML file, overlays, command line."""

import gc
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.config_item import ConfigComponent
from monai.utils.module import locate

from covid_monai.core.errors import TRACEBACK, describe_error, unknown_choice

# What MONAI or a command of ours reads by name, without a reference in the config.
_READ_BY_NAME = {"imports", "initialize", "run", "training", "finalize", "find_lr", "study"} | {
    *("tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"),
}
_REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")


def composed_config(resolved_ids: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole config as it was put together, without metadata, and with no expression evaluated.

    MONAI gives an expression of a config what is resolved so far (`__local_refs`), but neither the config nor
    its parser. This is the parser that owns `resolved_ids`, whoever started the run.
    """
    config: Any
    (config,) = [
        item.config
        for item in gc.get_objects()
        if type(item) is ConfigParser and item.ref_resolver.resolved_content is resolved_ids
    ]
    return {key: value for key, value in config.items() if not key.startswith("_")}


def fill_in_values(config: Any, resolved_ids: Mapping[str, Any], *, item_id: str = "") -> Any:
    """Replace the references and `$` expressions of a config whose values are plain by these values.

    Plain are numbers, words, switches, empty values, and lists of these. All others stay as they are written:
    no record of a datalist comes in.
    """
    if isinstance(config, dict):
        return {
            key: fill_in_values(config[key], resolved_ids, item_id=_below(item_id, key)) for key in config
        }
    if isinstance(config, list):
        return [
            fill_in_values(value, resolved_ids, item_id=_below(item_id, i)) for i, value in enumerate(config)
        ]
    if isinstance(config, str) and config[:1] in ("@", "$") and not item_id.startswith("imports"):
        value = resolved_ids.get(config[1:] if config[0] == "@" else item_id, config)
        return copy(value) if is_plain(value) else config
    return config if is_plain(config) else str(config)


def is_plain(value: object) -> bool:
    """Tell whether a value is a number, a word, a switch, None, or a list of these."""
    values = value if isinstance(value, list) else [value]
    return all(item is None or isinstance(item, str | int | float) for item in values)


def check_names(resolved_ids: Mapping[str, Any], own: str | Path) -> None:
    """Refuse a setting that nothing reads, which MONAI would ignore without a word.

    Uncaught errors of the program, such as this one, then end with one line in place of MONAI's tracebacks.

    Args:
        resolved_ids: `__local_refs` of the config.
        own: Config file of the bundle, whose names are all known.

    Raises:
        ValueError: A name of an overlay or of the command line is used nowhere, a part of the config does not
            have such an argument, or `--config_file` is given twice.
    """
    if os.environ.get(TRACEBACK) is None and _is_monai_program():
        sys.excepthook = _one_line(sys.excepthook)
    config, known = composed_config(resolved_ids), ConfigParser.load_config_file(own)
    used = {name.replace("#", "::") for text in _texts(config) for name in _REFERENCE.findall(text)}
    problems = [*_unused_names(config, known, used), *_unknown_arguments(config), *_ignored_configs()]
    if problems:
        raise ValueError(" ".join(problems))


def _unused_names(
    section: Mapping[str, Any], known: Mapping[str, Any], used: set[str], *, item_id: str = ""
) -> Iterator[str]:
    """Name the keys of a section, and of the sections in it, that are not known and no reference leads to."""
    read = {name for key in section if _is_read(name := _below(item_id, key), used)}
    for key, value in section.items():
        name = _below(item_id, key)
        if key not in known and name not in read and not _runs(value):
            close = get_close_matches(name, read | {_below(item_id, other) for other in known}, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            yield f"The setting {name!r} is unknown: nothing in the config reads it.{hint}"
        elif isinstance(value, dict) and "_target_" not in value and name not in used | _READ_BY_NAME:
            inner = known.get(key)
            yield from _unused_names(value, inner if isinstance(inner, dict) else {}, used, item_id=name)


def _is_read(name: str, used: set[str]) -> bool:
    """Tell whether a reference leads to an item or into it, or a program reads it by its name."""
    return name in used | _READ_BY_NAME or any(other.startswith(f"{name}::") for other in used)


def _runs(value: Any) -> bool:
    """Tell whether a value is something to run: `python -m monai.bundle run NAME`."""
    return isinstance(value, list) and any(str(step).startswith("$") for step in value)


def _unknown_arguments(config: Any, *, item_id: str = "") -> Iterator[str]:
    """Name the arguments that the parts of a config do not have."""
    if not isinstance(config, dict | list):
        return
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        yield from _unknown_arguments(value, item_id=_below(item_id, key))
    if isinstance(config, dict) and "_target_" in config:
        parameters = _parameters(config, item_id)
        for key in config:
            if parameters and key not in parameters and not str(key).startswith("_"):
                yield unknown_choice(f"setting of {item_id}", str(key), parameters)


def _parameters(config: dict, item_id: str) -> list[str]:
    """Return the names that a part of the config takes; none if it takes any, or if they are not known."""
    target: Any = ConfigComponent(config, id=item_id).resolve_module_name()
    part: Any = locate(target) if isinstance(target, str) else target
    try:
        parameters = signature(part).parameters.values()
    except (TypeError, ValueError):  # not found, which MONAI names, or written in C
        return []
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return []
    return [parameter.name for parameter in parameters]


def _ignored_configs() -> Iterator[str]:
    names = [word.partition("=")[0].replace("-", "_") for word in sys.argv if word.startswith("--config")]
    if names.count("__config_file") > 1 and _is_monai_program():
        yield (
            "--config_file is given twice, and MONAI ignores the first. Give one list: "
            "--config_file \"['train.yaml','overlay.yaml']\"."
        )


def _is_monai_program() -> bool:
    """Tell whether this process is `python -m monai.bundle`."""
    return Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def _one_line(hook: Callable[..., Any]) -> Callable[..., None]:
    """Return an exception hook that ends a program with one line, as `covid-monai` does."""

    def explain(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        line, code = describe_error(error)
        if code == 2:  # the user can correct it
            print(f"{line} Set {TRACEBACK}=1 to see the traceback.", file=sys.stderr)
        else:
            hook(kind, error, traceback)

    return explain


def _texts(config: Any) -> Iterator[str]:
    if isinstance(config, str):
        # MONAI reads a reference in an expression, or as the whole of a value.
        if config.startswith("$") or _REFERENCE.fullmatch(config):
            yield config
    elif isinstance(config, dict | list):
        for value in config.values() if isinstance(config, dict) else config:
            yield from _texts(value)


def _below(item_id: str, key: object) -> str:
    return f"{item_id}::{key}" if item_id else str(key)
