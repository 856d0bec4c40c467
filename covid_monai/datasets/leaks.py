"""Leaks of a datalist: an image, a patient or a hospital in two splits, and one image with two labels.

The audit reads any decathlon datalist. Unlike `read_datalist`, it accepts the faults that it looks for.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from covid_monai.datasets.collections.base import SPLIT_NAMES, known_patient
from covid_monai.datasets.datalist import Item, group_of, hospital_of, load_json
from covid_monai.datasets.duplicates.detection import Duplicates, SameImage, find_duplicates
from covid_monai.datasets.grouping import connected

Finding = dict[str, Any]


@dataclass(frozen=True)
class UncheckedDatalist:
    """Records of a datalist as the file has them, leaks, repeats and missing labels included.

    A record has `image` as it is written in the file, `split`, `class` (a name, `None` without a label), and
    what else the file holds.
    """

    path: Path
    root: Path  # where relative image paths start
    class_names: tuple[str, ...]  # names of labels 0, 1, ...; empty where the file does not say
    records: tuple[Item, ...]
    divided_hospitals: tuple[str, ...] = ()  # those that `data prepare` could not keep in one split


def read_unchecked(path: str | Path, *, dataset_dir: str | Path | None = None) -> UncheckedDatalist:
    """Read a datalist, ours or another one of MONAI's decathlon format.

    Splits are `training`, `validation` and `test`, also under usual other names (`train`, `val`, `testing`).
    A record is a mapping with `image`, or a path alone. Labels may be missing, numbers or names.
    `dataset_dir` is the folder to use instead of the datalist's own `root`, or of its own folder.

    Raises:
        FileNotFoundError: If the file or the folder is missing.
        ValueError: If it is not JSON, has no records, or a record does not have exactly one image.
    """
    path = Path(path).absolute()
    content = load_json(path)
    labels = content.get("labels")
    named = labels.items() if isinstance(labels, Mapping) else enumerate(labels or ())
    names = {str(key): str(name) for key, name in named}
    root = Path(dataset_dir).absolute() if dataset_dir else path.parent / str(content.get("root") or "")
    if not root.is_dir():
        raise FileNotFoundError(
            f"{path}: the folder {root} of the images does not exist. Name the folder with --dataset-dir."
        )
    records: list[Item] = []
    for key in (key for key in content if key in SPLIT_NAMES and isinstance(content[key], list)):
        for number, item in enumerate(content[key]):
            fields = dict(item) if isinstance(item, Mapping) else {"image": item}
            image, label = fields.get("image"), fields.get("label")
            if not isinstance(image, str) or not image:
                raise ValueError(f"{path}: {key}[{number}]: expected one image path, found {image!r}.")
            name = None if label is None else names.get(str(label), str(label))
            records.append({**fields, "split": SPLIT_NAMES[key], "class": name})
    if not records:
        raise ValueError(f"{path}: no records found. A datalist has them under training, validation or test.")
    divided = content.get("divided_hospitals")
    return UncheckedDatalist(
        path,
        root,
        class_names=tuple(names.values()),
        records=tuple(records),
        divided_hospitals=tuple(map(str, divided)) if isinstance(divided, list) else (),
    )


def audit_datalist(datalist: UncheckedDatalist) -> Finding:
    """Look for duplicates among all images of a datalist, and for leaks of images and patients.

    Returns:
        A document for JSON, with images as the datalist writes them:

        - `datalist`, `root`, `counts` (`images`, `splits`, `patients`, `compared`, `exact_pairs`,
          `near_pairs`, and the length of each list below).
        - `duplicate_groups`: lists of images that show one image, found here or recorded as `group`.
        - `pairs`: verified pairs: `images`, `similarity`, `exact`, `mirrored`, `inverted`, `patches` (one is
          an explanation picture).
        - `leaks`: `kind` (`file`, `group`, `patient` or `hospital`), `name`, `splits`, `paths`.
        - `divided_hospitals`: hospitals that preparation divided by patient on purpose; they are no leaks.
        - `label_conflicts`: `paths` and `labels` of one image with more than one class.
        - `unreadable`: `image` and `reason` of the files that could not be compared.

    Raises:
        FileNotFoundError: If no image of the datalist exists.
    """
    images = dict.fromkeys(str(record["image"]) for record in datalist.records)
    files = {image: (datalist.root / image).absolute() for image in images}
    if not any(file.is_file() for file in files.values()):
        raise FileNotFoundError(
            f"{datalist.path}: none of its {len(files)} images is under {datalist.root}. "
            "Name the folder of the images with --dataset-dir."
        )
    found = find_duplicates(files.values())
    names: dict[Path, list[str]] = defaultdict(list)
    for image, file in files.items():
        names[file].append(image)
    groups = _groups(datalist.records, found, names)
    report: Finding = {
        "datalist": str(datalist.path),
        "root": str(datalist.root),
        "duplicate_groups": groups,
        "pairs": [_to_finding(pair, names) for pair in found.pairs],
        "leaks": find_leaks(datalist.records, groups, divided_hospitals=datalist.divided_hospitals),
        "divided_hospitals": list(datalist.divided_hospitals),
        "label_conflicts": find_label_conflicts(datalist.records, groups),
        "unreadable": [
            {"image": name, "reason": each.reason} for each in found.unreadable for name in names[each.image]
        ],
    }
    exact = sum(pair.exact for pair in found.pairs)
    report["counts"] = {
        "images": len(datalist.records),
        "splits": dict(Counter(str(record["split"]) for record in datalist.records)),
        "patients": len({known_patient(record.get("patient")) for record in datalist.records} - {None}),
        "compared": len(files) - len(report["unreadable"]),
        "exact_pairs": exact,
        "near_pairs": len(found.pairs) - exact,
        **{key: len(report[key]) for key in ("duplicate_groups", "leaks", "label_conflicts", "unreadable")},
    }
    return report


def _to_finding(pair: SameImage, names: Mapping[Path, Sequence[str]]) -> Finding:
    facts = asdict(pair)
    return {"images": [names[facts.pop(end)][0] for end in ("first", "second")], **facts}


def find_leaks(
    records: Sequence[Item], groups: Sequence[Sequence[str]], *, divided_hospitals: Collection[str] = ()
) -> list[Finding]:
    """Return files, images (as `groups` has them), patients and hospitals that are in more than one split.

    A record without `patient` counts as a patient of its own. The `divided_hospitals` are no leak.
    """
    named = {image: group[0] for group in groups for image in group}
    leaks = []
    for kind in ("file", "group", "patient", "hospital"):
        members: dict[str, list[Item]] = defaultdict(list)
        for record in records:
            image = str(record["image"])
            name = {
                "file": image,
                "group": named.get(image),
                "patient": known_patient(record.get("patient")),
                "hospital": hospital_of(record),
            }[kind]
            if name is not None and not (kind == "hospital" and name in divided_hospitals):
                members[name].append({"image": record["image"], "split": record["split"]})
        for name, paths in sorted(members.items()):
            splits = sorted({path["split"] for path in paths})
            if len(splits) > 1:
                leaks.append({"kind": kind, "name": name, "splits": splits, "paths": paths})
    return leaks


def find_label_conflicts(records: Sequence[Item], groups: Sequence[Sequence[str]]) -> list[Finding]:
    """Return the images that have more than one class; records without a label are ignored."""
    classes: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record["class"] is not None:
            classes[str(record["image"])].add(record["class"])
    alone = [[image] for image in sorted(classes.keys() - {image for group in groups for image in group})]
    conflicts = []
    for group in (*groups, *alone):
        labelled = {image: sorted(classes[image]) for image in group if image in classes}
        if len({name for labels in labelled.values() for name in labels}) > 1:
            conflicts.append({"paths": list(labelled), "labels": list(labelled.values())})
    return conflicts


def _groups(records: Sequence[Item], found: Duplicates, names: dict[Path, list[str]]) -> list[list[str]]:
    """Join the groups found with those that the datalist records and with two names of one file."""
    recorded: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if (name := group_of(record)) is not None:
            recorded[name].append(str(record["image"]))
    joined = [[name for file in group for name in names[file]] for group in found.groups]
    joined += [*recorded.values(), *names.values()]
    pairs = [(group[0], name) for group in joined for name in group[1:] if name != group[0]]
    return [list(group) for group in connected(pairs)]
