"""Edits in the files of a copied bundle: its settings, its metadata, its own folder, its model card.

Data, such as paths and class names, are written so that no parser takes them for code.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from covid_monai.core.atomic_files import replace_atomically, write_text_atomically

SHIPPED_SECTION = "## The shipped weights"  # headings in the docs/README.md of a bundle
ADAPTED_SECTION = "## Adapted to a hospital"
_NULL_TAG = "tag:yaml.org,2002:null"


def set_settings(path: Path, settings: Mapping[str, str | int | Sequence[str]]) -> None:
    """Change settings at the top of a YAML config; comments and order stay."""
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    editor = YAML()
    editor.width, editor.preserve_quotes = 4096, True
    editor.representer.add_representer(type(None), lambda yaml, _: yaml.represent_scalar(_NULL_TAG, "null"))
    config = editor.load(path.read_text(encoding="utf-8"))
    for key, value in settings.items():
        if config[key] != value:
            # Quoted, because YAML reads bare words such as no as something else.
            config[key] = value if isinstance(value, str | int) else [*map(DoubleQuotedScalarString, value)]
    with replace_atomically(path) as temporary:
        editor.dump(config, temporary)


def set_network_format(path: Path, *, image_size: int, class_names: Sequence[str]) -> None:
    """Write the network's input size and output classes into a `metadata.json`."""
    metadata = json.loads(path.read_text(encoding="utf-8"))
    formats = metadata["network_data_format"]
    formats["inputs"]["image"]["spatial_shape"] = [image_size, image_size]
    names = {str(index): name for index, name in enumerate(class_names)}
    output = formats["outputs"]["pred"]
    output.update(num_channels=len(names), channel_def=names)
    if output["format"] == "segmentation":
        output["spatial_shape"] = [image_size, image_size]
    write_text_atomically(path, json.dumps(metadata, indent=4) + "\n")


def set_bundle_root(folder: Path, root: str) -> None:
    """Make the configs in `folder` use the bundle in `root` where they do not run in its folder."""
    for path in (folder / "configs").glob("*.yaml"):
        expression = yaml.safe_load(path.read_text(encoding="utf-8")).get("bundle_root", "")
        here, separator, _ = expression.partition(" else ")  # the first: a folder may be called "a else b"
        if separator:
            set_settings(path, {"bundle_root": f"{here}{separator}{quote_for_expression(root)}"})


def quote_for_expression(text: str) -> str:
    r"""Write any text as a Python string that a config's expression can hold.

    MONAI interprets "#" and "@" in an expression, also within a string, and quotes would end the string.

    >>> quote_for_expression("runs/o'brien #1")
    "'runs/o\\U00000027brien \\U000000231'"
    """
    return "'" + re.sub(r"[^\w/. -]", lambda letter: f"\\U{ord(letter[0]):08x}", text) + "'"


def quote_data(value: Any) -> Any:
    r"""Return a value of a config that MONAI's parser reads as this value, whatever text it holds.

    MONAI evaluates a text after "$", replaces "@name" and "%file" by what they name, and "#" by "::". Paths
    become text. Objects of other types, which MONAI passes on as they are, stay.

    Raises:
        ValueError: The value holds a mapping, whose keys MONAI would interpret.

    >>> quote_data([1, "a b", "$x"])
    [1, 'a b', "$'\\U00000024x'"]
    """
    if isinstance(value, dict):
        raise ValueError(f"{value} is a part of a config, not a value. Write it into a config file.")
    if isinstance(value, list | tuple):
        return [*map(quote_data, value)]
    if isinstance(value, str | Path):
        text = str(value)
        return "$" + quote_for_expression(text) if re.search("[$@%#]", text) else text
    return value


def remove_shipped_section(path: Path) -> None:
    """Remove the sections on the weights of another bundle from a model card, if there are any."""
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        headings = f"{SHIPPED_SECTION}|{ADAPTED_SECTION}"
        text = re.sub(rf"^(?:{headings})$.*?(?=^## |\Z)", "", text, flags=re.M | re.S)
        write_text_atomically(path, text)
