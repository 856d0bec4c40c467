"""What several commands share: options (bundle, device, `--set`, `--json`), image files, completion."""

import glob
import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from covid_monai.bundle.shipped import shipped_bundle
from covid_monai.core.errors import unknown_choice
from covid_monai.core.number_format import format_count

_WORDS: dict[str, dict[str, Any]] = tomllib.loads(
    resources.files(__package__).joinpath("options.toml").read_text("utf-8")
)
Complete = Callable[[str], list[str]]


def complete_words(*choices: str) -> Complete:
    """Return a function that completes one of the choices."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def complete_lists(*choices: str) -> Complete:
    """Return a function that completes the last one of several choices with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        used = before.split(",")
        unused = (choice for choice in choices if choice not in used)
        return [f"{before}{comma}{choice}" for choice in unused if choice.startswith(last)]

    return complete


def complete_bundles(incomplete: str) -> list[str]:
    """Complete the folders of bundles, down to two levels below the typed path."""
    typed, config = glob.escape(incomplete), "/configs/inference.yaml"
    return sorted(
        found.removesuffix(config)
        for below in ("", "/*", "/*/*")
        for found in glob.iglob(f"{typed}*{below}{config}")  # noqa: PTH207  # pathlib would change "./runs"
    )


def complete_sources(incomplete: str) -> list[str]:
    """Complete the name of a source; the shell completes its folder."""
    from covid_monai.datasets.collections import SOURCES

    return complete_words(*SOURCES)(incomplete)


def complete_setting(incomplete: str) -> list[str]:
    """Complete the name of a setting of train.yaml."""
    names = setting_names(shipped_bundle() / "configs" / "train.yaml")
    return [f"{name}=" for name in names if name.startswith(incomplete)]


def option(key: str, *names: str, **settings: Any) -> Any:
    """Return an option with the words of `options.toml` for a key such as "predict.output"."""
    return typer.Option(..., *names, **_words(key), **settings)


def argument(key: str, **settings: Any) -> Any:
    """Return an argument with the words of `options.toml` for a key such as "verify.path"."""
    return typer.Argument(**_words(key), **settings)


def _words(key: str) -> dict[str, Any]:
    command, name = key.split(".")
    words = dict(_WORDS[command][name])
    for kind, complete in (("complete", complete_words), ("complete_list", complete_lists)):
        if kind in words:
            words["autocompletion"] = complete(*words.pop(kind))
    return words


BundleOption = Annotated[Path | None, option("shared.bundle", "--bundle", autocompletion=complete_bundles)]
ImagePaths = Annotated[list[Path], argument("shared.image_paths")]
BatchSizeOption = Annotated[int, option("shared.batch_size", min=1)]
DeviceOption = Annotated[str | None, option("shared.device")]
BackendOption = Annotated[str | None, option("shared.backend", "--backend")]
TrustCodeOption = Annotated[bool, option("shared.trust_code", "--trust-code")]
JsonOption = Annotated[bool, option("shared.json", "--json")]


def setting_names(train_config: Path) -> list[str]:
    """Return the names of the settings of train.yaml in its order."""
    import yaml

    return list(yaml.safe_load(train_config.read_text(encoding="utf-8")))


def parse_settings(words: Sequence[str] | None, train_config: Path) -> dict[str, Any]:
    """Return the settings of words such as "max_epochs=1".

    Raises:
        ValueError: A word has no value, train.yaml has no setting of that name, or a value would be code.
    """
    import yaml

    from covid_monai.bundle.config_editing import quote_data

    pairs = [word.partition("=") for word in words or ()]
    known = setting_names(train_config)
    for name, equals, _ in pairs:
        if not equals or not name:
            raise ValueError(f"--set {name}: give NAME=VALUE, such as max_epochs=1.")
        # Other names are parts of a section, such as loss#weight.
        if name.isidentifier() and name not in known:
            raise ValueError(f"--set: {unknown_choice('train.yaml setting', name, known)}")
    settings = {name: yaml.safe_load(value) for name, _, value in pairs}
    quote_data([*settings.values()])  # refuses a part of a config now, not when the data are prepared
    return settings


def find_images(paths: list[Path]) -> list[Path]:
    """Return the given files and the images in the given folders; report how many files are left out."""
    from covid_monai.readers.image_files import find_image_files

    files, left_out = find_image_files(paths)
    if not files:
        others = f" {format_count(left_out, 'file')} of another type found there." if left_out else ""
        raise ValueError(
            f"No image found in {', '.join(map(str, paths))}.{others} Name DICOM, JPEG or PNG files, or "
            "folders that contain them."
        )
    if left_out:
        reason = "it is" if left_out == 1 else "they are"
        typer.echo(f"Left out {format_count(left_out, 'file')}: {reason} not DICOM, JPEG or PNG.", err=True)
    return files


@contextmanager
def reserve_stdout(as_json: bool) -> Iterator[None]:
    """Send what libraries print in the block to the standard error if a program reads the standard output."""
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield


def print_json(document: Mapping[str, Any]) -> None:
    """Print the document in ASCII, so that every reader decodes it, and without NaN, which is not JSON."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))
