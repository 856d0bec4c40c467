"""What calls are worth in a hospital that the training has not seen, and from where on a cause is named.

Networks are trained without one source at a time, and predict the source that was left out. On these
predictions a cut is chosen for each class but normal: the smallest log p(class) - log p(normal) above which
at most 5 % of the normal patients of the worst source lie. A file with `adapted` has the cuts of one
hospital. It is stored beside the weights (`models/unseen_sources.json`). Without the file, or
without a cut for a class, no cause is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covid_monai.core.effective_number import effective_number
from covid_monai.core.errors import printable
from covid_monai.core.vocabulary import NORMAL
from covid_monai.evaluation.decisions.json_record import JsonRecord
from covid_monai.evaluation.decisions.operating_point import log_odds
from covid_monai.evaluation.decisions.validation_weights import MIN_PATIENTS, balanced_weights
from covid_monai.evaluation.metrics.prediction_table import Floats

FALSE_ALARM_LIMIT = 0.05
# The worst of one source says nothing about how sources differ.
MIN_SOURCES = 2

Rate = dict[str, float | None]  # value, low, high


@dataclass(frozen=True)
class UnseenSources(JsonRecord):
    """Cuts for naming a cause, and the rates of calls on sources that the training has not seen.

    Args:
        class_names: K names, in the order of the probabilities, one of them `normal`.
        cuts: Class name to the smallest log p(class) - log p(normal) with which it may be named as the cause;
            0 or more. A class without a cut is never named.
        false_alarm_limit: Share of the normal patients of the worst source that may lie above a cut.
        abnormal_threshold: Probability of "abnormal" above which the rates count an image as abnormal; None
            if they were not measured.
        sources: Name of each source to its figures: `normals` (effective number of normal patients), `cases`
            (class name to the same), `abnormal` (the rates of abnormal calls) and `causes` (class name to
            the rates of the class at its cut). Rates are `false_alarms` among normal images and
            `sensitivity`, each with its 95 % interval (`value`, `low`, `high`), or None where there are too
            few patients.
        adapted: Facts of the hospital whose images set the cuts (`covid-monai adapt`): `site` (name), `date`,
            `patients` (number that set the cuts), `cut_set_on` (kind of these patients) and others; None
            where no hospital did.
        notes: Warnings for the reader, for example that a source has too few normal patients.

    Raises:
        ValueError: If a value is out of its range, or the classes do not fit.
    """

    class_names: tuple[str, ...]
    cuts: dict[str, float]
    false_alarm_limit: float = FALSE_ALARM_LIMIT
    abnormal_threshold: float | None = None
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    adapted: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        causes = set(self.class_names) - {NORMAL}
        if NORMAL not in self.class_names or not set(self.cuts) <= causes:
            raise ValueError(
                f"Cuts belong to classes beside {NORMAL}; found {self.cuts} for "
                f"{', '.join(self.class_names)}."
            )
        if not all(np.isfinite(cut) and cut >= 0 for cut in self.cuts.values()):
            raise ValueError(f"Cuts must be 0 or more, so that normal is less probable; found {self.cuts}.")
        if not 0 < self.false_alarm_limit < 1:
            raise ValueError(
                f"The false alarm limit must be between 0 and 1; found {self.false_alarm_limit}."
            )
        self.abnormal_span()  # raises for figures of another form

    @property
    def place(self) -> str:
        """Return the hospital that the cuts are for, in words."""
        facts = self.adapted
        if facts is None:
            return "a hospital that the training has not seen"
        return printable(str(facts.get("site") or "this hospital"))

    @property
    def basis(self) -> str:
        """Return with whom, where and when the cuts of a hospital were set, as far as the facts tell."""
        facts = self.adapted or {}
        patients, kind = facts.get("patients"), facts.get("cut_set_on")
        parts = [f"{patients} {kind}" if patients and kind else None, facts.get("site"), facts.get("date")]
        return printable(", ".join(str(part) for part in parts if part))

    def abnormal_span(self) -> dict[str, list[float]] | None:
        """Return the lowest and highest end of the intervals of abnormal calls over the sources.

        Returns:
            `false_alarms` and `sensitivity`: [low, high]; None unless some source tells each.
        """
        spans = {}
        for kind in ("false_alarms", "sensitivity"):
            rates = [figures["abnormal"][kind] for figures in self.sources.values()]
            ends = [(rate["low"], rate["high"]) for rate in rates if rate and rate["low"] is not None]
            if not ends:
                return None
            spans[kind] = [min(low for low, _ in ends), max(high for _, high in ends)]
        return spans


def fit_unseen_sources(
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    sources: ArrayLike,
    class_names: Sequence[str],
    *,
    abnormal_threshold: ArrayLike | None = None,
    false_alarm_limit: float = FALSE_ALARM_LIMIT,
) -> UnseenSources:
    """Choose the cuts, and measure the calls, on predictions of sources that were left out of the training.

    Args:
        labels: Shape [N], true class indices.
        probabilities: Shape [N, K]; each row comes from a network that was trained without its source.
        patients: Shape [N], patient of each image.
        sources: Shape [N], source of each image.
        class_names: K names, one of them `normal`.
        abnormal_threshold: Probability of "abnormal" above which an image is called abnormal, one number or
            shape [N], of the network that predicted the image; their median is kept. None leaves these rates
            out.
        false_alarm_limit: Share of the normal patients of the worst source that may lie above a cut.

    Returns:
        The cuts with the rates that they have. `notes` says where patients or sources were too few.
    """
    names, truth, who = tuple(class_names), np.asarray(labels), np.asarray(patients)
    where, normal = np.asarray(sources), names.index(NORMAL)
    odds = log_odds(probabilities, normal)
    normals = {
        str(source): np.flatnonzero((where == source) & (truth == normal)) for source in np.unique(where)
    }
    enough = {
        source: rows
        for source, rows in normals.items()
        if effective_number(who[rows].tolist()) >= MIN_PATIENTS
    }
    causes = {name: k for k, name in enumerate(names) if k != normal}
    cuts, notes = {}, []
    if len(enough) < MIN_SOURCES:
        notes.append(
            f"No cause is named: {len(enough)} of the sources left out have {MIN_PATIENTS:.0f} or more "
            f"normal patients (effective number), and a cut needs {MIN_SOURCES}."
        )
    else:
        for name, k in causes.items():
            each = [false_alarm_cut(odds[rows, k], who[rows], false_alarm_limit) for rows in enough.values()]
            cuts[name] = max(each)
    calls: dict[str | None, NDArray[np.bool_]] = {k: odds[:, causes[k]] >= cut for k, cut in cuts.items()}
    kept = None
    if abnormal_threshold is not None:
        thresholds = np.asarray(abnormal_threshold, dtype=np.float64)
        calls[None] = 1 - np.asarray(probabilities)[:, normal] > thresholds
        kept = float(np.median(thresholds))
    figures = {source: _figures(truth, who, where == source, calls, names) for source in normals}
    return UnseenSources(names, cuts, false_alarm_limit, kept, figures, None, tuple(notes))


def false_alarm_cut(log_odds: Floats, patients: NDArray[Any], limit: float) -> float:
    """Return the smallest cut of 0 or more that at most a share of the normal patients reaches.

    It is the quantile corrected for one more patient (n + 1), so that it holds for the next patient of the
    same hospital. If one of n + 1 patients is more than the limit allows, the cut lies above all patients.

    Args:
        log_odds: Shape [N], log p(class) - log p(normal) of normal images.
        patients: Shape [N]; each patient has the same weight.
        limit: Share of normal patients with log odds of the cut or more.

    >>> round(false_alarm_cut(np.arange(39) / 10, np.arange(39), 0.05), 3)
    3.7
    """
    weights = balanced_weights(np.zeros(len(log_odds)), patients)
    n_patients = len(np.unique(patients))
    order = np.argsort(-log_odds, kind="stable")
    reached = (np.cumsum(weights[order]) * n_patients + 1) / (n_patients + 1)
    too_many = np.flatnonzero(reached > limit + 1e-9)  # sums of fractions miss a limit by rounding
    if not len(too_many):
        return 0.0
    return max(0.0, float(np.nextafter(log_odds[order[too_many[0]]], np.inf)))


def _figures(
    truth: NDArray[Any],
    patients: NDArray[Any],
    here: NDArray[np.bool_],
    calls: Mapping[str | None, NDArray[np.bool_]],
    names: Sequence[str],
) -> dict[str, Any]:
    """Return the figures of one source; `calls` has those of a class by its name, abnormal ones by None."""
    normal = truth == names.index(NORMAL)
    cases: dict[str | None, NDArray[np.bool_]] = {None: ~normal & here}
    cases |= {name: (truth == k) & here for k, name in enumerate(names) if name != NORMAL}

    def rates(name: str | None) -> dict[str, Rate | None]:
        asked = {"false_alarms": normal & here, "sensitivity": cases[name]}
        called = calls.get(name)
        return {
            kind: None if called is None else _rate(called, rows, patients) for kind, rows in asked.items()
        }

    return {
        "normals": _worth(patients, normal & here),
        "cases": {name: _worth(patients, rows) for name, rows in cases.items() if name is not None},
        "abnormal": rates(None),
        "causes": {name: rates(name) for name in calls if name is not None},
    }


def _worth(patients: NDArray[Any], rows: NDArray[np.bool_]) -> float:
    return round(effective_number(patients[rows].tolist()), 1)


def _rate(called: NDArray[np.bool_], among: NDArray[np.bool_], patients: NDArray[Any]) -> Rate | None:
    """Return the share of calls with its interval; None for too few patients, whose interval says nothing."""
    # Statsmodels, which takes a second to import and which a prediction does not need.
    from covid_monai.evaluation.metrics.intervals import PatientBootstrap, share_with_interval

    if effective_number(patients[among].tolist()) < MIN_PATIENTS:
        return None
    return share_with_interval(called[among], PatientBootstrap(patients[among])).to_json()
