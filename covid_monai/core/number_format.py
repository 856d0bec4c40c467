"""How numbers are written in reports, on the page and in messages: one format for each kind of number.

A metric has three decimals (0.953). A share of images or a probability in a sentence is a percentage
(97.3 %). Rounding never makes a number certain: 0.9996 is written "> 0.999" and not "1.000".
"""

from collections.abc import Mapping

NOT_DEFINED = "not defined"


def format_metric(value: float | None) -> str:
    """Write a metric with three decimals.

    >>> format_metric(0.9534), format_metric(0.9996), format_metric(1.0), format_metric(None)
    ('0.953', '> 0.999', '1.000', 'not defined')
    """
    if value is None:
        return NOT_DEFINED
    if 0.9995 <= value < 1:
        return "> 0.999"
    return "< 0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def format_interval(metric: Mapping[str, float | None]) -> str:
    """Write the interval of `{"value", "low", "high"}`.

    >>> format_interval({"value": 0.95, "low": 0.921, "high": 0.978})
    '0.921 to 0.978'
    >>> format_interval({"value": None, "low": 9.363, "high": None})  # of an infinite ratio
    'at least 9.363'
    """
    low, high = metric["low"], metric["high"]
    if low is None:
        return "no interval"
    if high is None:
        return f"at least {format_metric(low)}"
    return f"{format_metric(low)} to {format_metric(high)}"


def format_percent(share: float | None, decimals: int = 1) -> str:
    """Write a share as a percentage; only a share of exactly 1 is 100 %, and only 0 is 0 %.

    >>> format_percent(0.973), format_percent(0.99996), format_percent(0.0001), format_percent(0.9, 0)
    ('97.3 %', '> 99.9 %', '< 0.1 %', '90 %')
    >>> format_percent(1.0), format_percent(0.0), format_percent(None)
    ('100 %', '0 %', 'not defined')
    """
    if share is None:
        return NOT_DEFINED
    percentage, smallest = 100 * share, 10**-decimals
    if percentage in (0, 100):
        return f"{percentage:.0f} %"
    if percentage <= smallest / 2:
        return f"< {smallest:.{decimals}f} %"
    if percentage >= 100 - smallest / 2:
        return f"> {100 - smallest:.{decimals}f} %"
    return f"{percentage:.{decimals}f} %"


def format_probability(probability: float) -> str:
    """Write the probability of a class, which is never certain: "> 99.9 %" also for 1.

    >>> format_probability(0.973), format_probability(1.0), format_probability(0.0)
    ('97.3 %', '> 99.9 %', '< 0.1 %')
    """
    return format_percent(min(max(probability, 1e-9), 1 - 1e-9))


def format_count(number: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun; the default plural is `noun` with an "s".

    >>> format_count(1, "file"), format_count(1200, "file"), format_count(0, "CUDA device")
    ('1 file', '1,200 files', '0 CUDA devices')
    >>> format_count(2, "exact copy", "exact copies")
    '2 exact copies'
    """
    return f"1 {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
