"""The config of a run as MONAI has put it together: YAML file, overlays, command line."""

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow, ReferenceResolver
from monai.bundle.config_item import ConfigComponent
from monai.utils.module import locate

from covid_monai.bundle.config_editing import quote_data
from covid_monai.core.errors import TRACEBACK, describe_error, unknown_choice

# What MONAI or a command of ours reads by name, without a reference in the config.
_READ_BY_NAME = {"imports", "initialize", "run", "training", "average", "finalize", "find_lr", "study"} | {
    *("tracking_uri", "experiment_name", "run_name", "save_execute_config", "is_not_rank0"),
}


def run_workflow(
    configs: Sequence[str | Path],
    *,
    workflow_type: str,
    data: Mapping[str, Any],
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Run a config.

    Args:
        configs: Config file and its overlays.
        workflow_type: "train" or "infer".
        data: Values of settings, such as paths. They arrive as they are: no text is evaluated.
        changes: Further config, as in an overlay: it is code like the config files.
    """
    # It tells of each config file, and warns of those in another folder, where overlays usually are.
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
    files = [str(path) for path in configs]
    settings = {**(changes or {}), **{key: quote_data(value) for key, value in data.items()}}
    workflow = ConfigWorkflow(config_file=files, workflow_type=workflow_type, **settings)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


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
    no record of a datalist comes in. A text that looks like code is quoted, so that it is none in the result.
    """
    if isinstance(config, dict | list):
        filled = {
            key: fill_in_values(value, resolved_ids, item_id=name)
            for key, name, value in ReferenceResolver.iter_subconfigs(item_id, config)
        }
        return filled if isinstance(config, dict) else [*filled.values()]
    if isinstance(config, str) and config[:1] in ("@", "$") and not item_id.startswith("imports"):
        value = resolved_ids.get(config[1:] if config[0] == "@" else item_id, config)
        return config if value is config or not is_plain(value) else quote_data(value)
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
    items = list(_walk(config))
    texts = (value for _, value in items if isinstance(value, str))
    used = {name for text in texts for name in ReferenceResolver.match_refs_pattern(text)}
    problems = [*_unused_names(config, known, used), *_unknown_arguments(items), *_ignored_configs()]
    if problems:
        raise ValueError(" ".join(problems))


def _walk(config: Any, item_id: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the id and the value of everything in a config."""
    yield item_id, config
    if isinstance(config, dict | list):
        for _, name, value in ReferenceResolver.iter_subconfigs(item_id, config):
            yield from _walk(value, name)


def _unused_names(
    section: Mapping[str, Any], known: Mapping[str, Any], used: set[str], *, item_id: str = ""
) -> Iterator[str]:
    """Name the keys of a section, and of the sections in it, that are not known and no reference leads to."""
    items = list(ReferenceResolver.iter_subconfigs(item_id, section))
    read = {name for _, name, _ in items if _is_read(name, used)}
    for key, name, value in items:
        if key not in known and name not in read and not _runs(value):
            others = {other for _, other, _ in ReferenceResolver.iter_subconfigs(item_id, known)}
            close = get_close_matches(name, read | others, n=1)
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


def _unknown_arguments(items: list[tuple[str, Any]]) -> Iterator[str]:
    """Name the arguments that the parts of a config do not have."""
    for name, value in items:
        if ConfigComponent.is_instantiable(value):
            parameters = _parameters(value, name)
            for key in value:
                if parameters and key not in parameters and not str(key).startswith("_"):
                    yield unknown_choice(f"setting of {name}", str(key), parameters)


def _parameters(config: dict, item_id: str) -> list[str]:
    """Return the names that a part of the config takes; none if it takes any, or if they are not known."""
    target: Any = ConfigComponent(config, id=item_id).resolve_module_name()
    part: Any = locate(target) if isinstance(target, str) else target
    try:
        parameters = signature(part).parameters.values()
    except (TypeError, ValueError):  # not found, which MONAI names, or written in C
        return []
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
    return [] if takes_any else [parameter.name for parameter in parameters]


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
