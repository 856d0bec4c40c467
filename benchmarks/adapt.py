"""What `covid-monai adapt` is worth in a hospital that was left out of the training.

    python benchmarks/adapt.py --predictions runs/left_out/default/darkcovidnet/evaluation/predictions.csv \
      --output adapt.json

The table has the predictions of a fold of an experiment with `protocol: leave_one_source_out`. The normal
patients of its test images (one image each) are divided at random, many times: some are the hospital's own
images, which set the cut, and the others are the test. "Before" calls the most probable class, "after" calls
a class at the cut. Patients of a class are counted at both.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.decisions.operating_point import log_odds
from covid_monai.evaluation.decisions.site_cut import allowed_calls, choose_site_cut, exact_share
from covid_monai.evaluation.decisions.unseen_sources import FALSE_ALARM_LIMIT
from covid_monai.evaluation.metrics.prediction_table import PredictionTable, read_predictions

SIZES = (60, 100, 200)  # local normal patients


def read_one_each(path: Path) -> PredictionTable:
    """Return the first test image of each patient and class."""
    test = read_predictions(path).split("test")
    keys = np.rec.fromarrays([test.patients, test.labels])
    _, first = np.unique(keys, return_index=True)
    return test.where(np.sort(first))


def divide(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], *, normal: int, k: int, n: int, draws: int
) -> dict[str, Any]:
    """Return false alarms and sensitivity for class `k`, before and after, over many divisions."""
    odds = log_odds(probabilities, normal)[:, k]
    probable = probabilities.argmax(axis=1) == k
    normals, cases = np.flatnonzero(labels == normal), np.flatnonzero(labels == k)
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        drawn = rng.permutation(normals)
        cut = choose_site_cut(odds[drawn[:n]], FALSE_ALARM_LIMIT)
        test = drawn[n:]
        after = odds >= cut
        found.append([cut, *(each[rows].mean() for rows in (test, cases) for each in (probable, after))])
    _, before_alarms, alarms, before_found, after_found = np.array(found).T
    one = rng.permutation(normals)
    cut = choose_site_cut(odds[one[:n]], FALSE_ALARM_LIMIT)

    def share(called: NDArray[np.bool_], rows: NDArray[np.int64]) -> dict[str, float | None]:
        return exact_share(int(called[rows].sum()), len(rows))

    called = {"before": probable, "after": odds >= cut}
    return {
        "local": n,
        "allowed": allowed_calls(n, FALSE_ALARM_LIMIT),
        "test_normals": len(normals) - n,
        "cases": len(cases),
        "false_alarms": {"before": _spread(before_alarms), "after": _spread(alarms)},
        "sensitivity": {"before": _spread(before_found), "after": _spread(after_found)},
        "within_limit": float(np.mean(alarms <= FALSE_ALARM_LIMIT)),
        # Of so few test patients some more are called by chance, even if the limit holds.
        "within_limit_expected": _expected(n, len(normals) - n),
        "one_division": {
            name: {"false_alarms": share(calls, one[n:]), "sensitivity": share(calls, cases)}
            for name, calls in called.items()
        },
    }


def _expected(n: int, tests: int) -> float:
    """Return how often the limit holds among test patients of one population with continuous scores."""
    allowed = allowed_calls(n, FALSE_ALARM_LIMIT)
    called = int(FALSE_ALARM_LIMIT * tests + 1e-9)
    return float("nan") if allowed is None else float(betabinom.cdf(called, tests, allowed + 1, n - allowed))


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def main() -> None:
    """Measure each file, print one row for each size and class, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for path in options.predictions:
        test = read_one_each(path)
        normal = test.class_names.index(NORMAL)
        for k, name in enumerate(test.class_names):
            for n in SIZES:
                if k == normal or not np.any(test.labels == k) or np.sum(test.labels == normal) <= n:
                    continue
                figures = divide(
                    test.labels, test.probabilities, normal=normal, k=k, n=n, draws=options.draws
                )
                rows.append({"predictions": str(path), "class": name, **figures})
                print(_line(rows[-1]))
    write_text_atomically(options.output, json.dumps(rows, indent=2) + "\n")


def _line(row: dict[str, Any]) -> str:
    def both(figure: dict[str, Any]) -> str:
        return " -> ".join(f"{v['mean']:.2f} ({v['low']:.2f} to {v['high']:.2f})" for v in figure.values())

    return (
        f"{row['predictions']}, {row['class']}, {row['local']} local normals: false alarms "
        f"{both(row['false_alarms'])}, sensitivity {both(row['sensitivity'])}, within 5 % in "
        f"{row['within_limit']:.0%} of the divisions (expected {row['within_limit_expected']:.0%})"
    )


if __name__ == "__main__":
    main()
