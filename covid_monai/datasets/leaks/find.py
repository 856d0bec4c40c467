"""What an audit of a datalist finds: an image twice, a patient in two splits, an image with two labels."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covid_monai.datasets.datalist import Item
from covid_monai.datasets.duplicates.find import Duplicates, find_duplicates
from covid_monai.datasets.leaks.grouping import connected
from covid_monai.datasets.leaks.unchecked_datalist import LooseDatalist

Finding = dict[str, Any]


def audit_duplicates(datalist: LooseDatalist, *, workers: int | None = None) -> Finding:
    """Look for duplicates among all images of a datalist, and for what they and the patients leak.

    Args:
        datalist: From `read_loosely`.
        workers: Threads; the number of processors by default.

    Returns:
        Ready for JSON, with images as the datalist writes them:

        - `datalist`, `root`, `counts` (`images`, `splits`, `patients`, `compared`, `exact_pairs`,
          `near_pairs`, and the length of each list below).
        - `duplicate_groups`: lists of images that show one image, found here or recorded as `group`.
        - `pairs`: each two files that were verified: `images`, `similarity`, `exact`, `mirrored`, `inverted`,
          `patches` (one is an explanation picture).
        - `leaks`: `kind` (`file`, `group` or `patient`), `name`, `splits`, `paths`.
        - `label_conflicts`: `paths` and `labels` of one image with more than one class.
        - `unreadable`: `image` and `reason` of the files that could not be compared.

    Raises:
        FileNotFoundError: If no image of the datalist is there.
    """
    files = {str(record["image"]): datalist.file_of(record).absolute() for record in datalist.records}
    if not any(file.is_file() for file in files.values()):
        raise FileNotFoundError(
            f"{datalist.path}: none of {len(files)} images is under {datalist.root}; "
            "name their folder with --dataset-dir"
        )
    found = find_duplicates(files.values(), workers=workers)
    names: dict[Path, list[str]] = defaultdict(list)
    for image, file in files.items():
        names[file].append(image)
    groups = _groups(datalist.records, found, names)
    leaks = find_leaks(datalist.records, groups)
    conflicts = find_label_conflicts(datalist.records, groups)
    report: Finding = {
        "datalist": str(datalist.path),
        "root": str(datalist.root),
        "duplicate_groups": groups,
        "pairs": _pairs(found, names),
        "leaks": leaks,
        "label_conflicts": conflicts,
        "unreadable": [
            {"image": image, "reason": left_out.reason}
            for left_out in found.unreadable
            for image in names[left_out.image]
        ],
    }
    return {**report, "counts": _counts(datalist.records, found, report)}


def find_leaks(records: Sequence[Item], groups: Sequence[Sequence[str]]) -> list[Finding]:
    """Return what stands in more than one split: a file, an image (one of `groups`) or a patient.

    A record without `patient` belongs to nobody else.
    """
    group_of = {image: group[0] for group in groups for image in group}
    leaks = []
    for kind in ("file", "group", "patient"):
        members: dict[str, list[Item]] = defaultdict(list)
        for record in records:
            image = str(record["image"])
            name = {"file": image, "group": group_of.get(image), "patient": record.get("patient")}[kind]
            if name:
                members[str(name)].append(record)
        for name, images in sorted(members.items()):
            splits = sorted({radiograph["split"] for radiograph in images})
            if len(splits) > 1:
                paths = [
                    {"image": radiograph["image"], "split": radiograph["split"]} for radiograph in images
                ]
                leaks.append({"kind": kind, "name": name, "splits": splits, "paths": paths})
    return leaks


def find_label_conflicts(records: Sequence[Item], groups: Sequence[Sequence[str]]) -> list[Finding]:
    """Return the images that carry more than one class; records without a label count for nothing."""
    classes: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record["class"] is not None:
            classes[str(record["image"])].add(record["class"])
    grouped = {image for group in groups for image in group}
    alone = [[image] for image in sorted(classes) if image not in grouped]
    conflicts = []
    for group in (*groups, *alone):
        labelled = {image: sorted(classes[image]) for image in group if image in classes}
        if len({name for found in labelled.values() for name in found}) > 1:
            conflicts.append({"paths": list(labelled), "labels": list(labelled.values())})
    return conflicts


def _groups(records: Sequence[Item], found: Duplicates, names: dict[Path, list[str]]) -> list[list[str]]:
    """Join what was found with the groups that the datalist records and with two names of one file."""
    recorded: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.get("group"):
            recorded[str(record["group"])].append(str(record["image"]))
    joined = [[name for file in group for name in names[file]] for group in found.groups]
    joined += [*recorded.values(), *names.values()]
    pairs = [(group[0], name) for group in joined for name in group[1:] if name != group[0]]
    return [list(group) for group in connected(pairs)]


def _pairs(found: Duplicates, names: dict[Path, list[str]]) -> list[Finding]:
    return [
        {
            "images": [names[pair.first][0], names[pair.second][0]],
            "similarity": pair.similarity,
            "exact": pair.exact,
            "mirrored": pair.mirrored,
            "inverted": pair.inverted,
            "patches": pair.patches,
        }
        for pair in found.pairs
    ]


def _counts(records: Sequence[Item], found: Duplicates, report: Finding) -> Finding:
    exact = sum(pair.exact for pair in found.pairs)
    files = len({record["image"] for record in records})
    return {
        "images": len(records),
        "splits": dict(Counter(str(record["split"]) for record in records)),
        "patients": len({str(record["patient"]) for record in records if record.get("patient")}),
        "compared": files - len(report["unreadable"]),
        "exact_pairs": exact,
        "near_pairs": len(found.pairs) - exact,
        **{key: len(report[key]) for key in ("duplicate_groups", "leaks", "label_conflicts", "unreadable")},
    }
