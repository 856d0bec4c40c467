"""Rendering of the HTML templates in this folder to pages that need no other file."""

import base64
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from covid_monai.core.number_format import format_count, format_interval, format_metric, format_percent


def render_template(name: str, **values: Any) -> str:
    """Render a template.

    Args:
        name: File name of the template in this folder.
        values: Variables of the template. A missing one raises an error; markup in a text is escaped.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "metric": format_metric,
        "interval": lambda metric: format_interval(metric).replace(" to ", "\u2013"),  # fits on a telephone
        "percent": lambda share: format_percent(share, 0),
        "count": format_count,
    }
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    return environment.from_string(text).render(**values)


def data_uri(file: bytes, media_type: str) -> str:
    """Return a file as an address that holds its content, for `src` of an image.

    >>> data_uri(b"abc", "image/png")
    'data:image/png;base64,YWJj'
    """
    return f"data:{media_type};base64,{base64.b64encode(file).decode('ascii')}"
