"""The report of an adaptation: what was set with which patients, and figures before and after."""

from collections.abc import Iterator
from typing import Any

from covid_monai.adaptation.before_after import Figures
from covid_monai.adaptation.site_fit import SiteModel
from covid_monai.core.number_format import format_count, format_interval, format_metric, format_percent
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.evaluation.decisions.site_cut import upper_limit
from covid_monai.evaluation.report.templates import render_template

Row = tuple[str, str, str]
_UNKNOWN = "-"


def make_report(
    model: SiteModel, made_of: dict[str, str], before: Figures, after: Figures | None, parts: int
) -> dict[str, Any]:
    """Return the content of `adaptation.json`, plain values only and nothing that names a person or a path.

    Args:
        model: Adapted parts, whose `unseen.adapted` has the facts.
        made_of: `identity` of the bundle that was adapted.
        before: Figures of that bundle.
        after: Figures of the adapted parts on patients that they have not used; None if there are none.
        parts: Number of parts of the patients.
    """
    unseen = model.unseen
    facts = dict((unseen.adapted if unseen is not None else None) or {})
    n, allowed = facts["patients"], facts["allowed_above_the_cut"]
    return {
        "adapted": facts,
        "made_of": made_of,
        "cuts": {} if unseen is None else unseen.cuts,
        "temperature": model.calibration.temperature,
        "conformal": model.calibration.conformal,
        "upper_limit": None if allowed is None else upper_limit(allowed, n),
        "before": before,
        "after": after,
        "parts": parts,
        "notes": [] if unseen is None else list(unseen.notes),
        "notice": RESEARCH_USE,
    }


def summary(report: dict[str, Any]) -> list[str]:
    """Return the main facts as sentences."""
    facts = report["adapted"]
    kind, allowed = facts["cut_set_on"], facts["allowed_above_the_cut"]
    said = [f"Adapted to {_place(facts)} on {facts['date']} with {facts['patients']:,} {kind}."]
    if report["cuts"]:
        limit, share = facts["limit"], facts["least_share_of_normals"]
        said.append(
            f"Of these patients, at most {allowed} {'reaches' if allowed == 1 else 'reach'} a cut: with a "
            f"confidence of {format_percent(facts['confidence'], 0)}, at most {100 * limit:g} % of such "
            "patients are called."
        )
        if share is not None:
            said.append(
                f"If {100 * share:g} % or more of the patients are normal, at most "
                f"{100 * limit / share:g} % of the normal ones are called."
            )
    said += report["notes"]
    said += [f"{format_count(n, 'image')} not used: {reason}." for reason, n in facts["left_out"].items()]
    return said


def _place(facts: dict[str, Any]) -> str:
    return facts["site"] or "a hospital"


def table(report: dict[str, Any]) -> list[Row]:
    """Return the rows "figure, before, after"; an interval stands with each figure."""
    after = report["after"] or {}
    rows = [
        (name, _cell(figure), _cell(_find(after, keys))) for name, keys, figure in _figures(report["before"])
    ]
    return [row for row in rows if row[1:] != (_UNKNOWN, _UNKNOWN)]


def how_measured(report: dict[str, Any]) -> str:
    """Return the sentence that says on which patients the figures after the adaptation rest."""
    if report["after"] is None:
        return (
            "There are too few patients to measure the adapted bundle on patients that it has not used. The "
            "limit of its false alarms is exact all the same."
        )
    return (
        f"The figures after the adaptation are cross-fitted: the patients form {report['parts']} parts, and "
        "each part is answered by a model that was adapted with the others."
    )


def render_report(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    return render_template(
        "adaptation.md.j2",
        report=report,
        summary=summary(report),
        rows=table(report),
        how_measured=how_measured(report),
    )


def _figures(figures: Figures) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Yield name, keys and value of each figure."""
    for name in figures.get("called", {}):
        yield f"patients whose cause is named {name}", ("called", name), figures["called"][name]
    for kind, words in (("causes", "with the cause"), ("decisions", "decided as")):
        for name, rates in figures.get(kind, {}).items():
            yield f"normal patients {words} {name}", (kind, name, "false_alarms"), rates["false_alarms"]
            yield f"{name} patients {words} {name}", (kind, name, "sensitivity"), rates["sensitivity"]
    if rates := figures.get("abnormal"):
        yield "normal patients called abnormal", ("abnormal", "false_alarms"), rates["false_alarms"]
        yield "other patients called abnormal", ("abnormal", "sensitivity"), rates["sensitivity"]
    for name, share in figures.get("coverage", {}).items():
        yield f"{name} patients whose set holds {name}", ("coverage", name), share
    for key, name in (("log_loss", "log loss"), ("ece", "expected calibration error")):
        if key in figures:
            yield name, (key,), figures[key]


def _find(figures: Figures, keys: tuple[str, ...]) -> Any:
    found: Any = figures
    for key in keys:
        found = found.get(key) if found else None
    return found


def _cell(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return _UNKNOWN
    return f"{format_metric(figure['value'])} ({format_interval(figure)})"
