"""What a datalist holds, after it was made: tables for a person, one document for a program."""

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from covid_monai.cli.options import SHIPPED_BUNDLE, print_json
from covid_monai.datasets.duplicates.removal import COPY

if TYPE_CHECKING:
    from rich.table import Table

    from covid_monai.datasets.datalist import Datalist

_REASONS_SHOWN = 12
_CONFLICTS_SHOWN = 5


def tell(datalist: "Datalist", *, as_json: bool) -> None:
    """Print what is in a datalist, and how to train on it; for a program its numbers."""
    if as_json:
        print_json(_document(datalist))
        return
    _print_tables(datalist)
    _print_next(datalist.path)


def _document(datalist: "Datalist") -> dict[str, Any]:
    return {
        "datalist": str(datalist.path),
        "classes": list(datalist.class_names),
        "splits": {
            split: {
                "images": len(items),
                "patients": len({item["patient"] for item in items}),
                "classes": {
                    name: sum(item["label"] == label for item in items)
                    for label, name in enumerate(datalist.class_names)
                },
                "sources": Counter(str(item.get("source", "")) for item in items),
            }
            for split, items in datalist.splits.items()
        },
        "excluded": Counter(_short_reason(str(item["reason"])) for item in datalist.excluded),
        "duplicate_groups": len(set(_groups(datalist))),
        "label_conflicts": len(datalist.label_conflicts),
    }


def _groups(datalist: "Datalist") -> list[Any]:
    """The group of each image that has one."""
    return [item["group"] for items in datalist.splits.values() for item in items if "group" in item]


def _print_tables(datalist: "Datalist") -> None:
    from rich.console import Console

    console = Console()
    console.print(_counts_table(datalist))
    if datalist.excluded:
        console.print(_excluded_table(datalist))
    for sentence in _duplicate_sentences(datalist):
        console.print(sentence, markup=False, highlight=False)
    typer.echo(f"Datalist: {datalist.path}")


def _counts_table(datalist: "Datalist") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Images")
    for column in ("source", "class"):
        table.add_column(column)
    for split in datalist.splits:
        table.add_column(split, justify="right")
    counted = Counter(
        (str(item.get("source", "")), item["label"], split)
        for split, items in datalist.splits.items()
        for item in items
    )
    for source in sorted({source for source, _, _ in counted}):
        for label, name in enumerate(datalist.class_names):
            numbers = [str(counted[source, label, split]) for split in datalist.splits]
            table.add_row(Text(source), Text(name), *numbers)
        table.add_section()
    totals = [(len(items), len({item["patient"] for item in items})) for items in datalist.splits.values()]
    table.add_row("all", "images", *(str(images) for images, _ in totals))
    table.add_row("", "patients", *(str(patients) for _, patients in totals))
    return table


def _excluded_table(datalist: "Datalist") -> "Table":
    from rich.table import Table
    from rich.text import Text

    reasons = Counter(_short_reason(str(item["reason"])) for item in datalist.excluded)
    table = Table(title=f"Left out: {len(datalist.excluded)} files")
    table.add_column("files", justify="right")
    table.add_column("reason")
    for reason, count in reasons.most_common(_REASONS_SHOWN):
        table.add_row(str(count), Text(reason))
    if len(reasons) > _REASONS_SHOWN:
        table.caption = f"{len(reasons) - _REASONS_SHOWN} more reasons; the datalist names each file"
    return table


def _short_reason(reason: str) -> str:
    """A reason without the name of the other file, so that copies are counted together."""
    return f"{COPY} a file that is kept" if reason.startswith(COPY) else reason


def _duplicate_sentences(datalist: "Datalist") -> list[str]:
    grouped = _groups(datalist)
    copies = sum(str(item["reason"]).startswith(COPY) for item in datalist.excluded)
    sentences = []
    if grouped:
        sentences.append(
            f"Duplicates: {len(set(grouped))} images occur more than once or under other names; "
            f"{copies} exact copies dropped, {len(grouped)} images carry a group, which no split divides."
        )
    if datalist.label_conflicts:
        sentences.append(f"Contradicting labels: {len(datalist.label_conflicts)} images carry two classes:")
    for conflict in datalist.label_conflicts[:_CONFLICTS_SHOWN]:
        sentences.append(
            "  " + ", ".join(f"{each['image']} ({each['class']})" for each in conflict["images"])
        )
    if len(datalist.label_conflicts) > _CONFLICTS_SHOWN:
        sentences.append("  ... the datalist names all, under label_conflicts.")
    return sentences


def _print_next(datalist: Path) -> None:
    train = SHIPPED_BUNDLE / "configs" / "train.yaml"
    name = datalist.absolute().parent.name if datalist.stem == "datalist" else datalist.stem
    typer.echo(
        f"Next: python -m monai.bundle run training --config_file {train} "
        f"--datalist {shlex.quote(str(datalist))} --output_dir {shlex.quote(f'runs/{name}')}"
    )
