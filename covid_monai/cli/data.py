"""`covid-monai data`: datalists from images on disk, their audit, phantoms, and de-identification."""

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covid_monai.bundle.shipped import LUNG_BUNDLE
from covid_monai.cli.deidentify import deidentify
from covid_monai.cli.options import JsonOption, argument, complete_sources, option, print_json, reserve_stdout
from covid_monai.core.effective_number import effective_numbers
from covid_monai.core.number_format import format_count
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.datasets.datalist import CONFLICT, COPY, SPLITS, group_of, hospital_of

if TYPE_CHECKING:
    from rich.table import Table

    from covid_monai.datasets.datalist import Datalist
    from covid_monai.datasets.leaks import UncheckedDatalist

_REASONS_SHOWN = 12
_CONFLICTS_SHOWN = 5
# Reasons without the names of files, patients and identifiers, so that like reasons are counted together.
_KINDS_OF_REASON = (
    (rf"{COPY} .*", f"{COPY} a file that is kept"),
    (rf"{CONFLICT}: .*", CONFLICT),
    (
        r"(\w+) in its collection, but patient .* is in (.*)",
        r"\1 in its collection, but its patient is in \2",
    ),
    (r"no label for (\w+) .* in labels\.csv", r"no label for its \1 in labels.csv"),
    (r"labels\.csv: no file with (\w+) .*", r"labels.csv: no file with this \1"),
    (r"unreadable: .*", "unreadable"),
    (r"(\w+): .*", r"refused: \1"),  # by the readers, such as `colour: A colour picture`
)

app = typer.Typer(
    help="Prepare a datalist from public collections or your own images, audit it, de-identify DICOM files.",
    no_args_is_help=True,
)
app.command()(deidentify)


@app.command()
def prepare(
    source_and_root: Annotated[list[str], argument("prepare.sources", autocompletion=complete_sources)],
    output: Annotated[Path, option("prepare.output")],
    validation_fraction: Annotated[float, option("prepare.validation_fraction")] = 0.15,
    test_fraction: Annotated[float, option("prepare.test_fraction")] = 0.2,
    seed: Annotated[int, option("prepare.seed")] = 0,
    validation_order: Annotated[str, option("prepare.validation_order")] = "random",
    classes: Annotated[str | None, option("prepare.classes")] = None,
    views: Annotated[str | None, option("prepare.views")] = None,
    check_duplicates: Annotated[bool, option("prepare.check_duplicates")] = True,
    label_conflicts: Annotated[str, option("prepare.label_conflicts")] = "drop",
    as_json: JsonOption = False,
) -> None:
    """Open every image once, find duplicates, split by patient, and write a datalist for training.

    Sources for your own images: folder (one sub-folder per class), csv, dicom-folder.

    Sources that are public collections: kermany, ieee8023, covid19-image-dataset, darkcovidnet, covid-cxnet,
    radiography, coronahack, lung-masks. data/README.md describes them.
    """
    from covid_monai.datasets.prepare import parse_sources
    from covid_monai.datasets.prepare import prepare as prepare_datalist
    from covid_monai.datasets.selection import parse_classes

    with reserve_stdout(as_json):
        datalist = prepare_datalist(
            parse_sources(source_and_root),
            output=output,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            seed=seed,
            validation_order=validation_order,
            classes=parse_classes(classes) if classes else None,
            views=[view.strip() for view in views.split(",")] if views else None,
            check_duplicates=check_duplicates,
            label_conflicts=label_conflicts,
        )
    _print_summary(datalist, as_json=as_json)


@app.command()
def phantom(
    folder: Annotated[Path, argument("phantom.folder")],
    patients: Annotated[int, option("phantom.patients")] = 120,
    seed: Annotated[int, option("phantom.seed")] = 0,
    size: Annotated[int, option("phantom.size")] = 512,
    image_format: Annotated[str, option("phantom.image_format", "--format")] = "mixed",
    ct: Annotated[bool, option("phantom.ct")] = True,
    marker: Annotated[str | None, option("phantom.marker")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw synthetic radiographs and CT volumes, to try the software without data of patients."""
    from covid_monai.datasets.datalist import read_datalist
    from covid_monai.phantoms.dataset import write_phantoms

    with reserve_stdout(as_json):
        written = write_phantoms(
            folder,
            patients=patients,
            seed=seed,
            size=size,
            image_format=image_format,
            ct=ct,
            planted_marker=marker,
        )
    _print_summary(read_datalist(written), as_json=as_json)


def _print_summary(datalist: "Datalist", *, as_json: bool) -> None:
    """Print the contents of a datalist and the command to train on it, or its numbers as JSON."""
    if as_json:
        print_json(_document(datalist))
        return
    from rich.console import Console

    console = Console()
    for table in _tables(datalist):
        console.print(table)
    sentences = (_duplicate_sentences, _hospital_sentences, _empty_split_sentences)
    for sentence in (sentence for write in sentences for sentence in write(datalist)):
        console.print(sentence, markup=False, highlight=False)
    typer.echo(f"Datalist: {datalist.path}")
    if not (datalist.splits["training"] and datalist.splits["validation"]):
        return  # a training would be refused
    has_masks = all(item.get("mask") for item in datalist.splits["training"])
    bundle = f"--bundle {LUNG_BUNDLE.name} " if has_masks else ""
    run = datalist.path.parent.name if datalist.path.stem == "datalist" else datalist.path.stem
    typer.echo(
        f"Next: covid-monai train {bundle}"
        f"--datalist {shlex.quote(str(datalist.path))} --output {shlex.quote(f'runs/{run}')}"
    )


def _document(datalist: "Datalist") -> dict[str, Any]:
    counts, effective = datalist.counts(), _effective_patients(datalist)
    return {
        "datalist": str(datalist.path),
        "classes": list(datalist.class_names),
        "splits": {
            split: {
                "images": len(items),
                "patients": len({item["patient"] for item in items}),
                "classes": counts[split],
                "sources": Counter(str(item.get("source", "")) for item in items),
                "effective_patients": {
                    name: round(effective.get((split, "", name), 0.0), 1) for name in datalist.class_names
                },
            }
            for split, items in datalist.splits.items()
        },
        "excluded": _count_reasons(datalist),
        "duplicate_groups": len(set(_groups(datalist))),
        "label_conflicts": len(datalist.label_conflicts),
        "divided_hospitals": list(datalist.divided_hospitals),
    }


def _effective_patients(datalist: "Datalist") -> dict[tuple[str, str, str], float]:
    """Return the effective number of patients by split, source (empty for all) and class."""
    return effective_numbers(
        ((split, source, datalist.class_names[item["label"]]), item["patient"])
        for split, items in datalist.splits.items()
        for item in items
        for source in dict.fromkeys(("", str(item.get("source", ""))))
    )


def _groups(datalist: "Datalist") -> list[Any]:
    """Return the group of each image that has one."""
    found = (group_of(item) for items in datalist.splits.values() for item in items)
    return [group for group in found if group is not None]


def _count_reasons(datalist: "Datalist") -> Counter[str]:
    return Counter(_kind_of_reason(str(item["reason"])) for item in datalist.excluded)


def _kind_of_reason(reason: str) -> str:
    """Return a reason without names.

    >>> _kind_of_reason("same pixels as a/1.png"), _kind_of_reason("colour: 1.jpg: A colour picture.")
    ('same pixels as a file that is kept', 'refused: colour')
    """
    for pattern, kind in _KINDS_OF_REASON:
        if match := re.fullmatch(pattern, reason, re.DOTALL):
            return match.expand(kind)
    return reason


def _tables(datalist: "Datalist") -> "list[Table]":
    """Return the table of images by source, class and split, and that of the files left out, if any."""
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(split, justify="right") for split in datalist.splits]
    note = "In brackets: the effective number of patients (Kish), fewer where some have many images."
    table = Table("source", "class", *columns, title="Images", caption=note)
    effective, counts = _effective_patients(datalist), datalist.counts()
    counted = Counter(
        (split, str(item.get("source", "")), datalist.class_names[item["label"]])
        for split, items in datalist.splits.items()
        for item in items
    )
    counted |= {(split, "", name): n for split, of_split in counts.items() for name, n in of_split.items()}
    for source in (*sorted({source for _, source, _ in counted} - {""}), ""):
        for name in datalist.class_names:
            cells = [(split, source, name) for split in datalist.splits]
            numbers = [f"{counted[c]} ({effective[c]:.1f})" if counted[c] else "0" for c in cells]
            table.add_row(Text(source or "all"), Text(name), *numbers)
        table.add_section()
    table.add_row("all", "images", *(str(len(items)) for items in datalist.splits.values()))
    patients = [{item["patient"] for item in items} for items in datalist.splits.values()]
    table.add_row("", "patients", *(str(len(names)) for names in patients))
    if not (reasons := _count_reasons(datalist)):
        return [table]
    more = len(reasons) - _REASONS_SHOWN
    caption = f"{format_count(more, 'more reason')}. " if more > 0 else ""
    left_out = Table(
        Column("files", justify="right"),
        "reason",
        title=f"Left out: {format_count(len(datalist.excluded), 'file')}",
        caption=f"{caption}The datalist names each file under excluded.",
    )
    for reason, count in reasons.most_common(_REASONS_SHOWN):
        left_out.add_row(str(count), Text(reason))
    return [table, left_out]


def _duplicate_sentences(datalist: "Datalist") -> list[str]:
    grouped, conflicts = _groups(datalist), datalist.label_conflicts
    copies = sum(str(item["reason"]).startswith(COPY) for item in datalist.excluded)
    sentences = []
    if grouped:
        groups = format_count(len(set(grouped)), "group")
        images = f"{format_count(len(grouped), 'image')} in {groups} of the same image"
        sentences.append(f"Duplicates: {images}; no split divides a group.")
    if copies:
        sentences.append(f"Left out: {format_count(copies, 'exact copy', 'exact copies')}.")
    if conflicts:
        images = format_count(len(conflicts), "image")
        left_out = any(str(item["reason"]).startswith(CONFLICT) for item in datalist.excluded)
        advice = "left out. Correct the labels, or use them as listed with --label-conflicts keep"
        done = advice if left_out else "kept"
        sentences.append(f"Contradicting labels: {images} with more than one class, {done}:")
    for conflict in conflicts[:_CONFLICTS_SHOWN]:
        named = (f"{each['image']} ({each['class']})" for each in conflict["images"])
        sentences.append(f"  {', '.join(named)}")
    if len(conflicts) > _CONFLICTS_SHOWN:
        sentences.append("  The datalist names the others under label_conflicts.")
    return sentences


def _hospital_sentences(datalist: "Datalist") -> list[str]:
    """Say where the test is of the same hospitals as the training."""
    sentences = []
    if datalist.divided_hospitals:
        names = ", ".join(datalist.divided_hospitals)
        reason = "They hold most images of a class, or a collection's own split divides them."
        sentences.append(f"Hospitals divided by patient: {names}. {reason}")
    unknown = {
        split: Counter(str(item.get("source", "")) for item in items if hospital_of(item) is None)
        for split, items in datalist.splits.items()
    }
    if both := sorted(unknown["training"].keys() & unknown["test"].keys()):
        images = format_count(sum(unknown["test"][source] for source in both), "test image")
        sources = ", ".join(both) or "no source"
        sentences.append(f"No hospital is recorded for {images} of {sources}: divided by patient only.")
    if sentences:
        sentences.append(
            "So the test may be of the hospitals of the training, and look better than a new one."
        )
    return sentences


def _empty_split_sentences(datalist: "Datalist") -> list[str]:
    empty = [split for split in SPLITS if not datalist.splits[split]]
    return [f"The split {split} is empty. {datalist.remedy_for_empty(split)}" for split in empty]


@app.command()
def audit(
    datalist: Annotated[Path, argument("audit.datalist")],
    output: Annotated[Path, option("audit.output")],
    dataset_dir: Annotated[Path | None, option("audit.dataset_dir")] = None,
    confounding: Annotated[bool, option("audit.confounding")] = True,
    as_json: JsonOption = False,
) -> None:
    """Look for images and patients in two splits, for contradicting labels and for shortcuts.

    Exit code: 0 without leaks, 1 with leaks, 2 for wrong usage.
    """
    from covid_monai.core.atomic_files import write_text_atomically
    from covid_monai.datasets.leaks import audit_datalist, read_unchecked
    from covid_monai.evaluation.report.audit_page import audit_html, audit_verdict

    with reserve_stdout(as_json):
        unchecked = read_unchecked(datalist, dataset_dir=dataset_dir)
        report = audit_datalist(unchecked)
        report["confounding"] = _confounding(unchecked, report) if confounding else None
    report = {"verdict": audit_verdict(report), **report, "notice": RESEARCH_USE}
    write_text_atomically(output / "audit.html", audit_html(report, unchecked.records))
    write_text_atomically(output / "audit.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        print_json(report)
    else:
        for sentence in report["verdict"]:
            typer.echo(sentence)
        typer.echo(f"Audit: {output / 'audit.html'}")
    raise typer.Exit(1 if report["leaks"] else 0)


def _confounding(datalist: "UncheckedDatalist", report: dict[str, Any]) -> dict[str, Any] | None:
    """Measure what predicts the label besides the lungs; return `None` for fewer than two classes."""
    from covid_monai.evaluation.shortcuts.confounding_audit import audit_confounding
    from covid_monai.lungs import LungSegmenter

    unreadable = {each["image"] for each in report["unreadable"]}
    labelled = [r for r in datalist.records if r["class"] is not None and r["image"] not in unreadable]
    names = [name for name in datalist.class_names if any(r["class"] == name for r in labelled)]
    names += sorted({str(r["class"]) for r in labelled} - set(names))
    if len(names) < 2:
        return None
    groups = {image: {"group": group[0]} for group in report["duplicate_groups"] for image in group}
    records = [{**r, "label": names.index(r["class"]), **groups.get(r["image"], {})} for r in labelled]
    return audit_confounding(records, names, find_lungs=LungSegmenter().find_box, root=datalist.root)
