"""The datalist: MONAI's decathlon JSON, checked when it is read, written whole or not at all."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covid_monai.core.atomic_files import replace_atomically
from covid_monai.core.errors import check_choice
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import check_class_names
from covid_monai.datasets.collections.base import known_patient, known_text

_REMEDY = "Name the folder of the images with --dataset_dir."
COPY = "same pixels as"  # first words of the reason for which an exact copy is excluded
CONFLICT = "contradicting labels"  # likewise for an image with more than one class
SPLITS = ("training", "validation", "test")
_OWN_IMAGES = ("folder", "csv", "dicom-folder")  # forms of a person's own images, which name no collection
_ADULT = 18.0  # years
Item = dict[str, Any]


@dataclass(frozen=True)
class Datalist:
    """Labelled images in three splits; no patient is in two of them.

    Args:
        path: File that it was read from.
        root: Folder that relative `image` paths start from.
        class_names: Class names in the order of their labels 0, 1, ...
        splits: Records by split: `image` (posix path), `label`, `patient`, and what else the file holds.
        digest: SHA-256 of labels, paths and patients. It does not depend on the order or the folder.
        sources: Roots, number of images and licence of each source.
        excluded: Images that were left out at preparation, with `image` and `reason`.
        label_conflicts: Groups of one image with more than one class, found at preparation: `group` and
            `images`, each with its class name and source.
        divided_hospitals: Hospitals whose patients preparation had to put into more than one split.
    """

    path: Path
    root: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[Item, ...]]
    digest: str
    sources: Mapping[str, Any] = field(default_factory=dict)
    excluded: tuple[Item, ...] = ()
    label_conflicts: tuple[Item, ...] = ()
    divided_hospitals: tuple[str, ...] = ()

    def records(self, split: str, dataset_dir: str | Path | None = None) -> list[Item]:
        """Return the records of a split with absolute paths of `image`, and of `mask` where there is one.

        Args:
            split: `training`, `validation` or `test`.
            dataset_dir: Folder to use instead of `root`, where the images have moved.

        Raises:
            ValueError: If the split is unknown or has no records.
            FileNotFoundError: If the folder or an image is missing.
        """
        check_choice("split", split, SPLITS)
        if not self.splits[split]:
            raise ValueError(f"{self.path}: the split {split} has no records. {self.remedy_for_empty(split)}")
        folder = Path(dataset_dir).absolute() if dataset_dir else self.root
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{self.path}: the folder {folder} of the images does not exist. {_REMEDY}"
            )
        records = [
            item | {key: str(folder / str(item[key])) for key in ("image", "mask") if item.get(key)}
            for item in self.splits[split]
        ]
        files = [item[key] for item in records for key in ("image", "mask") if item.get(key)]
        missing = [file for file in files if not Path(file).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{self.path}: {len(missing)} of {len(files)} {split} images missing, "
                f"the first is {missing[0]}. {_REMEDY}"
            )
        return records

    def domains(self, *splits: str, salt: str) -> list[str]:
        """Return hashes of the names of the hospitals and sources in the splits.

        The source does not count for a person's own images of a known hospital.
        """
        named = set()
        for item in (item for split in splits for item in self.splits[split]):
            source, hospital = str(item.get("source", "")), hospital_of(item)
            named |= {f"hospital {hospital.casefold()}"} if hospital else set()
            named |= {f"source {source}"} if hospital is None or source not in _OWN_IMAGES else set()
        return sorted(hashlib.sha256(f"{salt} {name}".encode()).hexdigest()[:16] for name in named)

    def is_external_to(self, chosen_on: Mapping[str, Any]) -> bool | None:
        """Tell whether the test is of other hospitals and sources than a training, `None` if unknown.

        Args:
            chosen_on: `OperatingPoint.chosen_on` of the training, with `domains` and `datalist_digest`.
        """
        if not (known := chosen_on.get("domains")):
            return None
        return not set(known) & set(self.domains("test", salt=str(chosen_on.get("datalist_digest"))))

    def remedy_for_empty(self, split: str) -> str:
        """Return the sentences that say how a split without records gets some."""
        everything = [item for items in self.splits.values() for item in items]
        if len({item["patient"] for item in everything}) == 1:
            images = format_count(len(everything), "image is", "images are")
            return f"All {images} of one patient, whom no split divides. Add images of other patients."
        fraction = f", or with a larger --{split}-fraction" if split != "training" else ""
        return f"Make the datalist again with `covid-monai data prepare` with more patients{fraction}."

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images by split and class, including zeros."""
        counted = {split: Counter(item["label"] for item in self.splits[split]) for split in SPLITS}
        return {
            split: {name: labels[index] for index, name in enumerate(self.class_names)}
            for split, labels in counted.items()
        }


def read_datalist(path: str | Path) -> Datalist:
    """Read and check a datalist, ours or one in the same format.

    Without `root`, paths start from the file's folder. Without `patient`, each image is its own patient.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not JSON, lacks keys, has a class name that `check_class_names` refuses, a label
            outside `labels`, an image with two labels, or a patient or a duplicate group in two splits.
    """
    path = Path(path).absolute()
    content = load_json(path)
    class_names = _class_names(content.get("labels"), path=path)
    splits = {
        split: _items(content.get(split, []), split=split, classes=len(class_names), path=path)
        for split in SPLITS
    }
    if not any(splits.values()):
        raise ValueError(f"{path}: no records found. A datalist has them under {', '.join(SPLITS)}.")
    _check_consistent(splits, path=path)
    return Datalist(
        path=path,
        root=path.parent / str(content.get("root") or ""),
        class_names=class_names,
        splits=splits,
        digest=_digest(class_names, splits),
        sources=content.get("sources") or {},
        excluded=_other_items(content, "excluded", path=path),
        label_conflicts=_other_items(content, "label_conflicts", path=path),
        divided_hospitals=tuple(map(str, content.get("divided_hospitals") or ())),
    )


def load_json(path: Path) -> dict[str, Any]:
    """Read the JSON object of a datalist; raise `FileNotFoundError` or `ValueError` if that fails."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"The datalist {path} {problem}. Make one with `covid-monai data prepare`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a byte order mark
        # Half a character, written as \ud800, could not be written to any table; bytes of file names can.
        json.dumps(content, ensure_ascii=False).encode(errors="surrogateescape")
    except (UnicodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error}). Name a datalist.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object with labels, training, validation and test.")
    return content


def _class_names(labels: object, *, path: Path) -> tuple[str, ...]:
    if not isinstance(labels, dict) or sorted(labels) != sorted(str(index) for index in range(len(labels))):
        raise ValueError(f'{path}: expected labels like {{"0": "normal", "1": "covid"}}; found {labels!r}.')
    names = (labels[str(index)] for index in range(len(labels)))
    checked = check_class_names(names, where=f"{path}: labels", remedy="Rename it in the datalist.")
    if len(checked) < 2:
        raise ValueError(f"{path}: expected at least two labels; found {', '.join(checked) or 'none'}.")
    return checked


def _items(items: object, *, split: str, classes: int, path: Path) -> tuple[Item, ...]:
    if not isinstance(items, list):
        raise ValueError(f"{path}: {split} is not a list of records.")
    for number, item in enumerate(items):
        where = f"{path}: {split}[{number}]"
        if not isinstance(item, dict) or not {"image", "label"} <= item.keys():
            raise ValueError(f"{where}: expected image and label; found {item!r}.")
        image, label = item["image"], item["label"]
        if not isinstance(image, str) or not image:
            raise ValueError(f"{where}: image {image!r} is not one path.")
        if type(label) is not int or not 0 <= label < classes:
            raise ValueError(f"{where}: label {label!r} of {image} is not one of 0 to {classes - 1}.")
    return tuple({**item, "patient": patient_of(item)} for item in items)


def _other_items(content: Mapping[str, Any], key: str, *, path: Path) -> tuple[Item, ...]:
    items = content.get(key) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{path}: {key} is not a list of records.")
    return tuple(items)


def patient_of(item: Mapping[str, Any]) -> str:
    """Return the patient of a record of any datalist; without one, the image is its own patient.

    >>> [patient_of({"image": "a.png", "patient": p}) for p in (0, "0", 7.0, None, "", float("nan"))]
    ['0', '0', '7', 'a.png', 'a.png', 'a.png']
    """
    return known_patient(item.get("patient")) or str(item["image"])


def group_of(item: Mapping[str, Any]) -> str | None:
    """Return the duplicate group of a record of any datalist, `None` where it has none."""
    return known_text(item.get("group"))


def hospital_of(item: Mapping[str, Any]) -> str | None:
    """Return the hospital of a record of any datalist, `None` where it is unknown."""
    return known_patient(item.get("hospital"))


def is_child(item: Mapping[str, Any]) -> bool:
    """Return whether a record of any datalist is known to be of a child, by `age` or by `age_group`.

    >>> [is_child(item) for item in ({"age": 17.5}, {"age": 18}, {"age_group": "child"}, {}, {"age": True})]
    [True, False, True, False, False]
    """
    age = item.get("age")
    if isinstance(age, int | float) and not isinstance(age, bool) and 0 <= age < _ADULT:
        return True
    return item.get("age_group") == "child"


def _check_consistent(splits: Mapping[str, Sequence[Item]], *, path: Path) -> None:
    split_of: dict[tuple[str, str | None], str] = {}
    label_of: dict[str, int] = {}
    for split, items in splits.items():
        for item in items:
            if (label := label_of.setdefault(item["image"], item["label"])) != item["label"]:
                raise ValueError(
                    f"{path}: {item['image']} has the labels {label} and {item['label']}. Keep one of them. "
                    "`covid-monai data audit` shows every such image."
                )
            for key, name in (("patient", item["patient"]), ("group", group_of(item))):
                if name is not None and (first := split_of.setdefault((key, name), split)) != split:
                    raise ValueError(
                        f"{path}: {key} {name} is in {first} and in {split}. "
                        "`covid-monai data audit` shows every such leak."
                    )


def _digest(class_names: Sequence[str], splits: Mapping[str, Sequence[Item]]) -> str:
    content = {
        split: sorted([item["image"], item["label"], item["patient"]] for item in items)
        for split, items in splits.items()
    }
    canonical = json.dumps({"labels": list(class_names), **content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_datalist(
    path: str | Path,
    *,
    class_names: Sequence[str],
    splits: Mapping[str, Sequence[Item]],
    root: Path,
    sources: Mapping[str, Any],
    excluded: Sequence[Item] = (),
    label_conflicts: Sequence[Item] = (),
    divided_hospitals: Sequence[str] = (),
    name: str = "covid_monai",
    description: str = "Chest images in splits by patient",
) -> Datalist:
    """Write a datalist, check it by reading it back, and return it.

    The file appears whole or not at all, also if the process ends early.

    Raises:
        ValueError: See `read_datalist`.
    """
    path = Path(path).absolute()
    content = {
        "name": name,
        "description": description,
        "labels": {str(index): class_name for index, class_name in enumerate(class_names)},
        "root": str(root),
        **{f"num{split.capitalize()}": len(splits[split]) for split in SPLITS},
        "sources": dict(sources),
        **{split: list(splits[split]) for split in SPLITS},
        "excluded": list(excluded),
        "label_conflicts": list(label_conflicts),
        "divided_hospitals": list(divided_hospitals),
    }
    with replace_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        read_datalist(temporary)
    return read_datalist(path)
