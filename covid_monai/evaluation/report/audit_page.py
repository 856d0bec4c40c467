"""The page of a data audit: leaks, contradicting labels and duplicates, with the images side by side."""

import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image

from covid_monai.datasets.collections.base import Excluded
from covid_monai.datasets.duplicates.thumbnails import read_thumbnail
from covid_monai.evaluation.report.templates import data_uri, render_template

GROUPS_SHOWN = 100  # in each section; no browser opens a page of 30 MB
_IMAGES_SHOWN = 8  # of one group
_THUMBNAIL = 144  # pixels

_LEAK_KINDS = {
    "file": ("file", "files"),
    "group": ("image under two names", "images under two names"),
    "patient": ("patient", "patients"),
    "hospital": ("hospital", "hospitals"),
}

Item = dict[str, Any]


def audit_html(report: Mapping[str, Any], records: Sequence[Item]) -> str:
    """Return the findings of a data audit as one HTML page.

    The page needs no other file: thumbnails are part of it. It shows at most `GROUPS_SHOWN` groups of each
    section and says how many there are.

    Args:
        report: Result of `audit_datalist`, with `confounding` (result of `audit_confounding`, or None),
            the sentences of `audit_verdict` as `verdict`, and `notice`.
        records: Records of the datalist: `image`, `split`, `class`.
    """
    return render_template("audit.html.j2", **report, sections=_sections(report, records))


def audit_verdict(report: Mapping[str, Any]) -> list[str]:
    """Return the findings of an audit in sentences, the most serious first.

    >>> audit_verdict({"leaks": [], "label_conflicts": [], "duplicate_groups": [], "confounding": None,
    ...                "divided_hospitals": [], "counts": {"compared": 3, "images": 3, "unreadable": 0}})
    ['No leak: no image, no patient and no named hospital is in two splits (3 files were compared).']
    """
    kinds = Counter(leak["kind"] for leak in report["leaks"])
    text = render_template("audit_verdict.txt.j2", **report, kinds=_LEAK_KINDS, leak_counts=kinds)
    return [line for line in text.split("\n") if line]


def _sections(report: Mapping[str, Any], records: Sequence[Item]) -> list[Item]:
    """Return the galleries of the page: title, meaning, number, and rows of captioned thumbnails."""
    records_by_image: dict[str, list[Item]] = defaultdict(list)
    for record in records:
        records_by_image[str(record["image"])].append(record)

    def section(title: str, meaning: str, groups: Sequence[tuple[str, Sequence[str]]]) -> Item:
        rows = []
        for name, images in groups[:GROUPS_SHOWN]:
            found = [record for image in dict.fromkeys(images) for record in records_by_image[image]]
            rows.append({"name": name, **_row(found, Path(report["root"]))})
        return {"title": title, "meaning": meaning, "number": len(groups), "rows": rows}

    leaks = [
        (f"{leak['kind']} {leak['name']}", [i["image"] for i in leak["paths"]]) for leak in report["leaks"]
    ]
    conflicts = [("", conflict["paths"]) for conflict in report["label_conflicts"]]
    duplicates = [("", group) for group in report["duplicate_groups"]]
    return [
        section("Leaks", "The images of each row are in more than one split.", leaks),
        section("Contradicting labels", "Each row shows one image with more than one class.", conflicts),
        section("Images that occur more than once", "Each row shows one image.", duplicates),
    ]


def _row(records: Sequence[Item], root: Path) -> Item:
    """Return the images that are shown of a group, one of each split before the second of any."""
    in_turn: dict[str, Iterator[int]] = defaultdict(count)
    turns = [(next(in_turn[record["split"]]), record) for record in records]
    chosen = [record for _, record in sorted(turns, key=lambda turn: turn[0])[:_IMAGES_SHOWN]]
    shown = [
        {**record, "class": record["class"] or "no label", "source": _thumbnail(root / record["image"])}
        for record in chosen
    ]
    return {"more": len(records) - len(shown), "images": shown}


def _thumbnail(path: Path) -> str | None:
    picture = read_thumbnail(path)
    if isinstance(picture, Excluded):
        return None
    file = io.BytesIO()
    Image.fromarray(picture).resize((_THUMBNAIL, _THUMBNAIL)).save(file, "JPEG", quality=75)
    return data_uri(file.getvalue(), "image/jpeg")
