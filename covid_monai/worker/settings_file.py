"""`worker.yaml` from disk: every mistake named with its key and what is allowed; unknown keys are refused."""

import difflib
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from covid_monai.worker.settings import Settings, SettingsError

_SECRET_KEYS = ("password", "token", "secret", "authorization")


def load_settings(path: str | Path) -> Settings:
    """Read and check a configuration.

    Raises:
        SettingsError: With every mistake on a line of its own: file, key, what is wrong, what is allowed.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{path}: not valid YAML{place}: {getattr(error, 'problem', error)}") from error
    if not isinstance(content, dict):
        raise SettingsError(
            f"{path}: expected keys such as state_dir and archives; see deploy/worker/worker.yaml"
        )
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        mistakes = [_explain(item) for item in error.errors(include_input=False, include_url=False)]
        raise SettingsError(f"{path}: " + "; ".join(mistakes)) from error


def _explain(item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    if item["type"] == "extra_forbidden":
        return _unknown_key(location)
    message = item["msg"].removeprefix("Value error, ").replace("Field required", "is missing")
    return f"{'.'.join(location)}: {message}" if location else message


def _unknown_key(location: list[str]) -> str:
    *above, key = location
    allowed = list(_fields_at(above))
    if key.lower() in _SECRET_KEYS:
        return (
            f"{'.'.join(location)}: no secrets in this file; give password_env or token_env (name of an "
            "environment variable), or password_file or token_file (path of a file)"
        )
    close = difflib.get_close_matches(key, allowed, n=1)
    hint = f" (do you mean {close[0]}?)" if close else ""
    return f"{'.'.join(location)}: no such key{hint}; allowed here: {', '.join(allowed)}"


def _fields_at(location: list[str]) -> list[str]:
    """Names of the keys that are allowed in one section of the file."""
    model: type[BaseModel] = Settings
    for part in location:
        if part.isdigit():  # an item of `archives`
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)
