"""When an AUROC without the lungs counts as a shortcut: one rule for data and for models.

A control counts where the lower end of its 95 % interval lies above `SHORTCUT_ABOVE` for any class. Chance
is 0.50, and some association is honest: the sick lie down more often, are older, are turned. Below 0.60 that
gain is small beside what headlines claim (0.9 and more), and over the few intervals that are looked at, a
lower end above 0.60 hardly comes by chance. To say that there is none, every upper end must lie below
`CLEAR_BELOW`: else there are too few cases to say.
"""

from collections.abc import Mapping
from typing import Any

SHORTCUT_ABOVE = 0.60
CLEAR_BELOW = 0.75

Auroc = Mapping[str, float | None]


def is_shortcut(per_class: Mapping[str, Auroc]) -> bool | None:
    """Judge one control by the intervals of its classes; None if they are too wide, or there are none.

    >>> is_shortcut({"covid": {"value": 0.98, "low": 0.97, "high": 0.99}})
    True
    >>> is_shortcut({"covid": {"value": 0.55, "low": 0.30, "high": 0.80}}) is None
    True
    """
    intervals = [auroc for auroc in per_class.values() if auroc["low"] is not None]
    if any(auroc["low"] > SHORTCUT_ABOVE for auroc in intervals):  # type: ignore[operator]
        return True
    clear = [auroc["high"] is not None and auroc["high"] < CLEAR_BELOW for auroc in per_class.values()]
    return False if clear and all(clear) else None


def any_shortcut(judged: list[bool | None]) -> bool | None:
    """Judge several controls together: one is enough to find a shortcut, all are needed to find none."""
    if any(judged):
        return True
    return False if judged and None not in judged else None


def strongest_words(per_class: Mapping[str, Auroc]) -> str:
    """AUROC with interval of the class that is told best; its name where there are more than two.

    >>> strongest_words({"a": {"value": 0.5, "low": None, "high": None}})
    '0.50'
    """
    name, auroc = max(per_class.items(), key=lambda pair: (pair[1]["low"] or 0, pair[1]["value"] or 0))
    return f"{auroc_words(auroc)} for {name}" if len(per_class) > 2 else auroc_words(auroc)


def auroc_words(auroc: Mapping[str, Any]) -> str:
    """An AUROC with its interval, for a sentence."""
    value, low, high = auroc["value"], auroc["low"], auroc["high"]
    if value is None:
        return "unknown"
    if high is not None and high < 0.5:  # the folds differ by more than the classes do
        return f"{value:.2f}, no better than chance"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"
