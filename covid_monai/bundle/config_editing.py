"""Edits in the files of a copied bundle: its settings, its metadata, its own folder, its model card."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from covid_monai.core.atomic_files import replace_atomically, write_text_atomically

SHIPPED_SECTION = "## The shipped weights"  # heading in the docs/README.md of a bundle
# The line with the folder that a config uses as its bundle when it does not run in the bundle's own folder.
_ROOT_LINE = re.compile(r"^bundle_root: .* else .*$", re.MULTILINE)
_ROOT_DEFAULT = re.compile(r"'[^']*'$")  # at the end of that line's expression


def set_settings(path: Path, settings: Mapping[str, str | int | Sequence[str]]) -> None:
    """Change settings at the top of a YAML config; comments and order stay."""
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    editor = YAML()
    editor.width = 4096
    config = editor.load(path.read_text(encoding="utf-8"))
    for key, value in settings.items():
        if config[key] != value:
            # Quoted, because YAML reads bare words such as no as something else.
            config[key] = (
                value if isinstance(value, str | int) else [DoubleQuotedScalarString(name) for name in value]
            )
    with replace_atomically(path) as temporary:
        editor.dump(config, temporary)


def set_network_format(path: Path, *, image_size: int, class_names: Sequence[str]) -> None:
    """Write the network's input size and output classes into a `metadata.json`."""
    metadata = json.loads(path.read_text(encoding="utf-8"))
    formats = metadata["network_data_format"]
    formats["inputs"]["image"]["spatial_shape"] = [image_size, image_size]
    names = {str(index): name for index, name in enumerate(class_names)}
    formats["outputs"]["pred"].update(num_channels=len(names), channel_def=names)
    write_text_atomically(path, json.dumps(metadata, indent=4) + "\n")


def set_bundle_root(folder: Path, root: str) -> None:
    """Make the configs in `folder` use the bundle in `root` where they do not run in its folder."""

    def edit(line: re.Match[str]) -> str:
        expression = yaml.safe_load(line[0])["bundle_root"]  # in any kind of quotes
        expression = _ROOT_DEFAULT.sub(lambda _: quote_for_expression(root), expression)
        return f"bundle_root: {json.dumps(expression, ensure_ascii=False)}"

    for path in (folder / "configs").glob("*.yaml"):
        write_text_atomically(path, _ROOT_LINE.sub(edit, path.read_text(encoding="utf-8")))


def quote_for_expression(text: str) -> str:
    r"""Write any text as a Python string that a config's expression can hold.

    MONAI interprets "#" and "@" in an expression, also within a string, and quotes would end the string.

    >>> quote_for_expression("runs/o'brien #1")
    "'runs/o\\x27brien \\x231'"
    """
    return "'" + "".join(map(_escape, text)) + "'"


def _escape(letter: str) -> str:
    if letter.isalnum() or letter in "/._- ":
        return letter
    number = ord(letter)
    return f"\\x{number:02x}" if number < 256 else f"\\U{number:08x}"


def remove_shipped_section(path: Path) -> None:
    """Remove the section on the shipped weights from a model card, if there is one."""
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        text = re.sub(rf"^{SHIPPED_SECTION}$.*?(?=^## |\Z)", "", text, flags=re.M | re.S)
        write_text_atomically(path, text)
