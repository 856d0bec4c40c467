"""The page of a data audit: what leaks first, with the pictures side by side."""

import base64
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from covid_monai.datasets.collections.base import Excluded
from covid_monai.datasets.duplicates.thumbnails import read_thumbnail

GROUPS_SHOWN = 100  # of each section: a page of 30 MB opens in no browser
_IMAGES_SHOWN = 8  # of one group
_THUMBNAIL = 144  # pixels

_KINDS = {"file": "file", "group": "image under two names", "patient": "patient"}

Item = dict[str, Any]


def audit_html(report: Mapping[str, Any], records: Sequence[Item]) -> str:
    """Draw what `audit_datalist` found, and the confounding audit where there is one, as one HTML page.

    The page needs no other file: thumbnails are part of it. At most `GROUPS_SHOWN` groups of a section are
    drawn; the page says how many there are.

    Args:
        report: As `audit_datalist` returns it, with `confounding` (`audit_confounding`'s, or `None`), the
            sentences of `audit_verdict` as `verdict`, and `notice`.
        records: Of the datalist: `image`, `split`, `class`.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = resources.files(__package__).joinpath("audit.html.j2").read_text("utf-8")
    environment.filters["cell"] = _cell
    return environment.from_string(text).render(**report, sections=_sections(report, records))


def audit_verdict(report: Mapping[str, Any]) -> list[str]:
    """Say in plain sentences what the audit found, gravest first.

    >>> audit_verdict({"leaks": [], "label_conflicts": [], "duplicate_groups": [], "confounding": None,
    ...                "counts": {"compared": 3, "images": 3, "unreadable": 0}})
    ['No leak: no image and no patient stands in two splits (3 files compared).']
    """
    counts, leaks = report["counts"], report["leaks"]
    if leaks:
        kinds = Counter(leak["kind"] for leak in leaks)
        found = ", ".join(_count(kinds[kind], words) for kind, words in _KINDS.items() if kinds[kind])
        sentences = [f"Leak: in more than one split: {found}. Figures from these splits are too good."]
    else:
        files = _count(counts["compared"], "file")
        sentences = [f"No leak: no image and no patient stands in two splits ({files} compared)."]
    if report["confounding"]:
        sentences.append(report["confounding"]["verdict"])
    if conflicts := report["label_conflicts"]:
        sentences.append(f"Contradicting labels: {_count(len(conflicts), 'image')} with more than one class.")
    if groups := report["duplicate_groups"]:
        sentences.append(f"Duplicates: {_count(len(groups), 'image')} found more than once.")
    if counts["unreadable"]:
        sentences.append(f"Not compared: {_count(counts['unreadable'], 'file')}; audit.json says why.")
    return sentences


def _count(number: int, what: str) -> str:
    """Say a number of things; the first word takes the plural.

    >>> _count(1, "image under two names"), _count(2, "image under two names")
    ('1 image under two names', '2 images under two names')
    """
    first, *rest = what.split(" ", 1)
    return " ".join([str(number), first + "s" * (number != 1), *rest])


def _sections(report: Mapping[str, Any], records: Sequence[Item]) -> list[Item]:
    """Return the galleries of the page: title, meaning, number, and rows of captioned thumbnails."""
    of_image: dict[str, list[Item]] = defaultdict(list)
    for record in records:
        of_image[str(record["image"])].append(record)
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
            "rows": [_row(name, images, of_image, root) for name, images in found[:GROUPS_SHOWN]],
        }
        for title, meaning, found in (
            ("Leaks", "Each row stands in more than one split.", leaks),
            ("Contradicting labels", "Each row is one image with more than one class.", conflicts),
            ("Images that occur more than once", "Each row is one image.", groups),
        )
    ]


def _row(name: str, images: Sequence[str], of_image: Mapping[str, Sequence[Item]], root: Path) -> Item:
    radiographs = [record for image in dict.fromkeys(images) for record in of_image[image]]
    seen: Counter[str] = Counter()
    place = {}
    for number, radiograph in enumerate(radiographs):  # one of each split before the second of any
        place[number] = seen[radiograph["split"]]
        seen[radiograph["split"]] += 1
    shown = sorted(range(len(radiographs)), key=lambda number: (place[number], number))[:_IMAGES_SHOWN]
    return {
        "name": name,
        "more": len(radiographs) - len(shown),
        "images": [
            {
                "image": radiographs[number]["image"],
                "split": radiographs[number]["split"],
                "class": radiographs[number]["class"] or "no label",
                "source": _thumbnail(root / radiographs[number]["image"]),
            }
            for number in shown
        ],
    }


def _thumbnail(path: Path) -> str | None:
    picture = read_thumbnail(path)
    if isinstance(picture, Excluded):
        return None
    file = io.BytesIO()
    Image.fromarray(picture).resize((_THUMBNAIL, _THUMBNAIL)).save(file, "JPEG", quality=75)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _cell(value: object) -> str:
    """Write a table's cell; what is not known is a dash."""
    if value is None:
        return "\u2013"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
