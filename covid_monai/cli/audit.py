"""`covid-monai data audit`: leaks of a datalist, and shortcuts to its labels."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covid_monai.cli.options import JsonOption, print_json, reserve_stdout
from covid_monai.core.vocabulary import RESEARCH_USE

if TYPE_CHECKING:
    from covid_monai.datasets.leaks import UncheckedDatalist


def audit(
    datalist: Annotated[
        Path, typer.Argument(metavar="DATALIST", help="Datalist in MONAI's decathlon format.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder to write audit.json and audit.html to.")
    ],
    dataset_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the images, if it is not the datalist's root."),
    ] = None,
    confounding: Annotated[
        bool, typer.Option(help="Measure whether the label can be predicted without the lungs.")
    ] = True,
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

    unreadable = {each["image"] for each in report["unreadable"]}
    labelled = [r for r in datalist.records if r["class"] is not None and r["image"] not in unreadable]
    names = [name for name in datalist.class_names if any(r["class"] == name for r in labelled)]
    names += sorted({str(r["class"]) for r in labelled} - set(names))
    if len(names) < 2:
        return None
    group_of = {image: {"group": group[0]} for group in report["duplicate_groups"] for image in group}
    records = [
        {**record, "label": names.index(record["class"]), **group_of.get(record["image"], {})}
        for record in labelled
    ]
    return audit_confounding(records, names, root=datalist.root)
