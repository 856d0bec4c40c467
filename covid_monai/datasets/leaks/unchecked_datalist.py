"""Any decathlon datalist, read without refusing what an audit is there to show."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_monai.datasets.collections.base import SPLIT_NAMES
from covid_monai.datasets.datalist import Item, load_json


@dataclass(frozen=True)
class LooseDatalist:
    """Records of a datalist as they stand there, leaks, repeats and missing labels included.

    Args:
        path: The file it was read from.
        root: Folder that relative `image` paths start from.
        class_names: Names of labels 0, 1, ..., or none where the file does not say.
        records: In the order of the file: `image` as it is written there, `split`, `class` (a name, `None`
            where there is no label), and what else the file holds.
    """

    path: Path
    root: Path
    class_names: tuple[str, ...]
    records: tuple[Item, ...]

    def file_of(self, record: Item) -> Path:
        """Return the absolute path of a record's image."""
        return self.root / str(record["image"])


def read_loosely(path: str | Path, *, dataset_dir: str | Path | None = None) -> LooseDatalist:
    """Read a datalist, ours or another one of MONAI's decathlon format.

    Splits are `training`, `validation` and `test`, also under usual other names (`train`, `val`, `testing`).
    A record is a mapping with `image`, or a path alone. Labels may be missing, numbers or names.

    Args:
        path: The datalist.
        dataset_dir: Folder to use instead of the datalist's own `root`, or of its own folder.

    Raises:
        FileNotFoundError: If the file or the folder is missing.
        ValueError: If it is not JSON, has no records, or a record names no single image.
    """
    path = Path(path).absolute()
    content = load_json(path)
    labels = content.get("labels")
    named = labels.items() if isinstance(labels, Mapping) else enumerate(labels or ())
    names = {str(key): str(name) for key, name in named}
    root = Path(dataset_dir).absolute() if dataset_dir else path.parent / str(content.get("root", ""))
    if not root.is_dir():
        raise FileNotFoundError(f"{path}: no folder {root}; name the folder of the images with --dataset-dir")
    records = tuple(
        _record(item, split=SPLIT_NAMES[key], names=names, where=f"{path}: {key}[{number}]")
        for key, items in content.items()
        if key in SPLIT_NAMES and isinstance(items, list)
        for number, item in enumerate(items)
    )
    if not records:
        raise ValueError(f"{path}: expected records under training, validation, test; found none")
    return LooseDatalist(path=path, root=root, class_names=tuple(names.values()), records=records)


def _record(item: object, *, split: str, names: Mapping[str, str], where: str) -> Item:
    fields: dict[str, Any] = dict(item) if isinstance(item, Mapping) else {"image": item}
    image, label = fields.get("image"), fields.get("label")
    if not isinstance(image, str) or not image:
        raise ValueError(f"{where}: expected one image path; found {image!r}")
    name = None if label is None else names.get(str(label), str(label))
    return {**fields, "split": split, "class": name}
