"""The page of a data audit: leaks, contradicting labels and duplicates, with the images side by side."""

import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from covid_monai.core.number_format import format_count
from covid_monai.datasets.collections.base import Excluded
from covid_monai.datasets.duplicates.thumbnails import read_thumbnail
from covid_monai.evaluation.report.html_template import data_uri, render_template

GROUPS_SHOWN = 100  # in each section; no browser opens a page of 30 MB
_IMAGES_SHOWN = 8  # of one group
_THUMBNAIL = 144  # pixels

_LEAK_KINDS = {"file": "file", "group": "image under two names", "patient": "patient"}

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
    ...                "counts": {"compared": 3, "images": 3, "unreadable": 0}})
    ['No leak: no image and no patient is in two splits (3 files were compared).']
    """
    counts, leaks = report["counts"], report["leaks"]
    if leaks:
        kinds = Counter(leak["kind"] for leak in leaks)
        found = ", ".join(
            format_count(kinds[kind], noun) for kind, noun in _LEAK_KINDS.items() if kinds[kind]
        )
        sentences = [f"Leak: in more than one split: {found}. Metrics of these splits will be too good."]
    else:
        verb = "was" if counts["compared"] == 1 else "were"
        files = f"{format_count(counts['compared'], 'file')} {verb} compared"
        sentences = [f"No leak: no image and no patient is in two splits ({files})."]
    if report["confounding"]:
        sentences.append(report["confounding"]["verdict"])
    if conflicts := report["label_conflicts"]:
        sentences.append(
            f"Contradicting labels: {format_count(len(conflicts), 'image')} with more than one class."
        )
    if groups := report["duplicate_groups"]:
        sentences.append(f"Duplicates: {format_count(len(groups), 'image')} found more than once.")
    if counts["unreadable"]:
        files = format_count(counts["unreadable"], "file")
        sentences.append(f"Not compared: {files}. The reasons are in audit.json.")
    return sentences


def _sections(report: Mapping[str, Any], records: Sequence[Item]) -> list[Item]:
    """Return the galleries of the page: title, meaning, number, and rows of captioned thumbnails."""
    records_by_image: dict[str, list[Item]] = defaultdict(list)
    for record in records:
        records_by_image[str(record["image"])].append(record)
    leaks = [
        (f"{leak['kind']} {leak['name']}", [image["image"] for image in leak["paths"]])
        for leak in report["leaks"]
    ]
    conflicts = [("", conflict["paths"]) for conflict in report["label_conflicts"]]
    groups = [("", group) for group in report["duplicate_groups"]]
    root = Path(report["root"])
    return [
        {
            "title": title,
            "meaning": meaning,
            "number": len(found),
            "rows": [_row(name, images, records_by_image, root) for name, images in found[:GROUPS_SHOWN]],
        }
        for title, meaning, found in (
            ("Leaks", "The images of each row are in more than one split.", leaks),
            ("Contradicting labels", "Each row shows one image with more than one class.", conflicts),
            ("Images that occur more than once", "Each row shows one image.", groups),
        )
    ]


def _row(
    name: str, images: Sequence[str], records_by_image: Mapping[str, Sequence[Item]], root: Path
) -> Item:
    records = [record for image in dict.fromkeys(images) for record in records_by_image[image]]
    seen: Counter[str] = Counter()
    turn = []
    for record in records:  # one of each split before the second of any
        turn.append(seen[record["split"]])
        seen[record["split"]] += 1
    shown = sorted(range(len(records)), key=lambda number: (turn[number], number))[:_IMAGES_SHOWN]
    return {
        "name": name,
        "more": len(records) - len(shown),
        "images": [
            {
                "image": record["image"],
                "split": record["split"],
                "class": record["class"] or "no label",
                "source": _thumbnail(root / record["image"]),
            }
            for record in (records[number] for number in shown)
        ],
    }


def _thumbnail(path: Path) -> str | None:
    picture = read_thumbnail(path)
    if isinstance(picture, Excluded):
        return None
    file = io.BytesIO()
    Image.fromarray(picture).resize((_THUMBNAIL, _THUMBNAIL)).save(file, "JPEG", quality=75)
    return data_uri(file.getvalue(), "image/jpeg")
