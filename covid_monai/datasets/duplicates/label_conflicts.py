"""Images with more than one class: a file listed twice, or copies of one image, with different labels."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from covid_monai.core.errors import unknown_choice
from covid_monai.core.number_format import format_count
from covid_monai.datasets.collections.base import Excluded, Record, relative_to
from covid_monai.datasets.datalist import CONFLICT

LabelConflicts = Literal["drop", "keep", "error"]


def check_label_conflicts(text: str) -> LabelConflicts:
    """Return `text` as the treatment of contradicting labels, or raise `ValueError`."""
    if text not in get_args(LabelConflicts):
        raise ValueError(unknown_choice("treatment of label conflicts", text, get_args(LabelConflicts)))
    return cast(LabelConflicts, text)


def settle_label_conflicts(
    records: Sequence[Record], group_of: Mapping[Path, str], *, root: Path, treatment: LabelConflicts
) -> tuple[list[Record], list[Excluded], list[dict[str, Any]]]:
    """Find the images with more than one class, and leave them out, keep them as they are listed, or stop.

    Nobody can know which label is right, so all files of such an image are left out by default. A patient
    whose images of two days have two classes is no conflict.

    Args:
        records: One record per file, each with its `repeated` ones.
        group_of: Name of the group of each file that has copies.
        root: Folder from which paths are named.
        treatment: `drop`, `keep` or `error`.

    Returns:
        The records to use; those left out; per conflict `group` and `images` (`image`, `class`, `source`).

    Raises:
        ValueError: If there is a conflict and `treatment` is `error`; the message names the first one.
    """
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        name = group_of.get(record.image, relative_to(record.image, root))
        members[name] += [record, *record.repeated]
    conflicts: list[dict[str, Any]] = []
    reasons: dict[Path, str] = {}
    for name, alike in sorted(members.items()):
        classes = sorted({record.class_name for record in alike})
        if len(classes) > 1:
            reasons |= {record.image: f"{CONFLICT}: {', '.join(classes)}" for record in alike}
            listed = [(relative_to(record.image, root), record.class_name, record.source) for record in alike]
            named = [dict(zip(("image", "class", "source"), each, strict=True)) for each in listed]
            conflicts.append({"group": name, "images": named})
    if treatment == "error" and conflicts:
        images = ", ".join(f"{each['image']} ({each['class']})" for each in conflicts[0]["images"])
        raise ValueError(
            f"{format_count(len(conflicts), 'image has', 'images have')} contradicting labels; the first is "
            f"listed as {images}. Correct the labels, or leave such images out with --label-conflicts drop."
        )
    if treatment != "drop":
        return list(records), [], conflicts
    kept = [record for record in records if record.image not in reasons]
    gone = [Excluded(r.image, reasons[r.image]) for r in records if r.image in reasons]
    return kept, gone, conflicts
