"""Rendering of the Jinja templates in this folder: pages that need no other file, and sentences."""

import base64
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from covid_monai.core.number_format import format_count, format_interval, format_metric, format_percent

ENVIRONMENT = Environment(
    loader=PackageLoader("covid_monai.evaluation.report", ""),
    autoescape=select_autoescape(["html.j2"], default_for_string=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_template(name: str, **values: Any) -> str:
    """Render a template of this folder; a missing value raises an error, and HTML is escaped in a page."""
    return ENVIRONMENT.get_template(name).render(**values)


def render_text(template: str, **values: Any) -> str:
    """Render the text of a template; see `render_template`.

    >>> render_text("{{ number | count('image') }}", number=2)
    '2 images'
    """
    return ENVIRONMENT.from_string(template).render(**values)


def with_interval(metric: Mapping[str, float | None]) -> str:
    """Write a metric with its interval, as `0.953 (95 % interval 0.921 to 0.978)`."""
    prefix = "" if metric["low"] is None else "95 % interval "
    return f"{format_metric(metric['value'])} ({prefix}{format_interval(metric)})"


def data_uri(file: bytes, media_type: str) -> str:
    """Return a file as an address that holds its content, for `src` of an image.

    >>> data_uri(b"abc", "image/png")
    'data:image/png;base64,YWJj'
    """
    return f"data:{media_type};base64,{base64.b64encode(file).decode('ascii')}"


ENVIRONMENT.filters |= {
    "metric": format_metric,
    "interval": lambda metric: format_interval(metric).replace(" to ", "\u2013"),  # fits on a telephone
    "with_interval": with_interval,
    "percent": lambda share: format_percent(share, 0),
    "count": format_count,
}
