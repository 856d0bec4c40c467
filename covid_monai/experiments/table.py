"""The result of a study as a table: published, ours with its interval, what differs."""

from collections.abc import Mapping
from typing import Any

_ALWAYS = ("auroc", "balanced_accuracy", "accuracy")


def markdown(result: Mapping[str, Any]) -> str:
    """Return a Markdown section with one table and the differences.

    A metric of one class is named `sensitivity/covid` in `published`.

    >>> ours = {"accuracy": {"value": 0.9, "low": 0.85, "high": 0.94}, "n": 72, "bootstrap": {"patients": 60}}
    >>> table = markdown({"title": "T", "protocol": "folds", "published": {"accuracy": 0.958, "where": "X"},
    ...     "differs": ["grouped by patient"], "variants": {"default": ours}})
    >>> table.splitlines()[4]
    '| accuracy | 0.958 | 0.900 [0.850 to 0.940] |'
    """
    published = {key: value for key, value in result["published"].items() if key != "where"}
    variants = result["variants"]
    metrics = [*published, *(name for name in _ALWAYS if name not in published)]
    some = next(iter(variants.values()))
    headings = [f"ours, {name}" if len(variants) > 1 else "ours" for name in variants]
    lines = [
        f"### {result['title']}",
        "",
        f"| metric | published | {' | '.join(headings)} |",
        f"|---|---|{'---|' * len(variants)}",
    ]
    for metric in metrics:
        cells = [_cell(_find(values, metric)) for values in variants.values()]
        if any(cells):
            lines.append(f"| {metric} | {published.get(metric, '')} | {' | '.join(cells)} |")
    for name, part in some.get("apart", {}).items():
        cells = [_cell(values["apart"][name]["accuracy"]) for values in variants.values()]
        lines.append(f"| accuracy, {name} ({part['n']} images) | | {' | '.join(cells)} |")
    lines += [
        "",
        f"Ours: {some['n']} test images of {some['bootstrap']['patients']} patients, "
        f"protocol {result['protocol']}. Published: {result['published'].get('where', 'not published')}.",
        "",
        *(f"- {sentence}" for sentence in result["differs"]),
    ]
    return "\n".join(lines) + "\n"


def _find(values: Mapping[str, Any], metric: str) -> Mapping[str, Any] | None:
    name, _, class_name = metric.partition("/")
    return values.get("per_class", {}).get(class_name, {}).get(name) if class_name else values.get(name)


def _cell(metric: Mapping[str, Any] | None) -> str:
    if metric is None or metric.get("value") is None:
        return ""
    interval = "" if metric["low"] is None else f" [{metric['low']:.3f} to {metric['high']:.3f}]"
    return f"{metric['value']:.3f}{interval}"
