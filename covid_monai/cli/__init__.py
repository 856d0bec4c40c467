"""The commands of `covid-monai`: each parses its arguments, calls one function and sets the exit code.

Nothing heavy is imported before a command runs, so that `--help` and mistakes are answered at once.
"""

from collections import Counter

from covid_monai.core.number_format import format_count


def outcome_counts(outcomes: Counter[str]) -> str:
    """Return how many files have which outcome.

    >>> outcome_counts(Counter({"ok": 2, "refused: colour": 1}))
    '3 files: 2 ok, 1 refused: colour.'
    """
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
    return f"{format_count(outcomes.total(), 'file')}: {counts}."
