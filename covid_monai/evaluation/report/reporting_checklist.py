"""The CLAIM 2024 and TRIPOD+AI items of a test, as far as the run itself can answer them.

The items stand in `reporting_checklist.yaml`. An item that only the authors can answer stays blank: a program
must not make a checklist look complete. The wording of the guidelines is shortened.

References: Tejani 2024, Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update,
Radiology: Artificial Intelligence 6:e240300; Collins 2024, TRIPOD+AI statement, BMJ 385:e078378.
"""

import platform
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import yaml

from covid_monai.core.number_format import format_count
from covid_monai.evaluation.metrics.prediction_table import PredictionTable
from covid_monai.evaluation.report.report_sentences import with_interval

_PACKAGES = ("covid-monai", "monai", "torch", "numpy", "scikit-learn", "statsmodels", "scikit-image")


def fill_checklist(report: Mapping[str, Any], predictions: PredictionTable) -> list[dict[str, str | None]]:
    """Answer every item that the run can answer.

    Args:
        report: Keys that `write_report` has gathered so far, without this checklist.
        predictions: All rows of `predictions.csv`.

    Returns:
        One mapping per item: `section`, `claim` and `tripod` (item numbers or None), `item`, `answer` (None:
        blank).
    """
    text = resources.files(__package__).joinpath("reporting_checklist.yaml").read_text("utf-8")
    answers = _Answers(report, predictions)
    return [
        {
            "section": entry["section"],
            "claim": entry.get("claim"),
            "tripod": entry.get("tripod"),
            "item": entry["item"],
            "answer": getattr(answers, entry["fill"])() or None if "fill" in entry else None,
        }
        for entry in yaml.safe_load(text)
    ]


class _Answers:
    """Answers of one run: a method for each `fill` of the YAML file; an empty answer leaves the item blank.

    Args:
        report: As for `fill_checklist`.
        predictions: As for `fill_checklist`.
    """

    def __init__(self, report: Mapping[str, Any], predictions: PredictionTable) -> None:
        self._report, self._rows = report, predictions

    def technology(self) -> str:
        return f"Deep learning on chest radiographs; classes: {', '.join(self._rows.class_names)}"

    def sources(self) -> str:
        known = Counter(source for source in self._rows.sources.tolist() if source)
        return ", ".join(f"{name} ({format_count(n, 'image')})" for name, n in known.most_common())

    def preprocessing(self) -> str:
        digest = self._report["model"].get("preprocessing_digest")
        where = "The section preprocessing of the bundle's configs/inference.yaml"
        return f"{where}, digest {digest[:16]}" if digest else ""

    def missing(self) -> str:
        rows = self._rows
        empty = {
            "source": np.sum(rows.sources == ""),
            "view": np.sum(rows.views == ""),
            "sex": np.sum(rows.sexes == ""),
            "age": np.sum(np.isnan(rows.ages)),
        }
        listing = ", ".join(f"{name} {count}" for name, count in empty.items() if count)
        if not listing:
            return "Source, view, sex and age are recorded for every image"
        return f"Not recorded, of {format_count(len(rows), 'image')}: {listing}. Nothing was imputed"

    def partitions(self) -> str:
        data = self._report["data"]
        if not data["datalist"]:
            return ""
        digest = f", digest {data['datalist_digest'][:16]}" if data["datalist_digest"] else ""
        return f"By the datalist {data['datalist'].rsplit('/', 1)[-1]}{digest}"

    def disjoint(self) -> str:
        splits = sorted(set(self._rows.splits.tolist()))
        if len(splits) < 2:
            return ""
        patients = [set(self._rows.split(name).patients.tolist()) for name in splits]
        shared, names = len(set.intersection(*patients)), " and ".join(splits)
        if shared:
            verb = "is" if shared == 1 else "are"
            return f"Not disjoint: {format_count(shared, 'patient')} {verb} in {names}"
        return f"By patient: no patient is in both {names}"

    def model(self) -> str:
        known = {key: str(value) for key, value in self._report["model"].items() if "digest" not in key}
        if "weights_sha256" in known:
            known["weights_sha256"] = known["weights_sha256"][:16]  # enough to tell files apart
        return "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in known.items())

    def software(self) -> str:
        found = [f"Python {platform.python_version()}"]
        for package in _PACKAGES:
            try:
                found.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                continue
        return ", ".join(found)

    def imbalance(self) -> str:
        per_class = self._report["test"]["per_class"].items()
        listing = ", ".join(f"{name} {values['support']}" for name, values in per_class)
        return f"Images in the test split: {listing}. Headline metrics are means over the classes"

    def metrics(self) -> str:
        return (
            "AUROC, sensitivity, specificity, PPV, NPV, likelihood ratios, F1, kappa, Brier score, ECE; see "
            "the tables"
        )

    def intervals(self) -> str:
        settings = self._report["test"]["bootstrap"]
        drawn, seed = settings["resamples"], settings["seed"]
        return f"95 % intervals; {drawn} bootstrap resamples of whole patients, seed {seed}"

    def calibration(self) -> str:
        calibration = self._report["calibration"]
        if not calibration:
            return ""
        return f"Temperature {calibration['temperature']:.3f}, fitted on the validation split only"

    def thresholds(self) -> str:
        point = self._report["operating_point"]
        listing = ", ".join(f"{name} {value:.3f}" for name, value in point["thresholds"].items())
        where = point["chosen_on"].get("split", "no data")
        return f"One probability per class; thresholds ({listing}) chosen on: {where}. {point['rule']}"

    def robustness(self) -> str:
        controls = self._report["shortcut_controls"]
        return controls["sentence"] if controls else ""

    def fairness(self) -> str:
        groups = Counter(row["by"] for row in self._report["subgroups"]["rows"])
        listing = ", ".join(f"{name} ({format_count(n, 'group')})" for name, n in groups.items())
        return f"Reported with intervals by {listing}" if listing else ""

    def explainability(self) -> str:
        explanation = self._report["explanation"]
        if not explanation:
            return ""
        return f"Grad-CAM at {explanation['layer']}. {explanation['randomisation']['sentence']}"

    def internal(self) -> str:
        return self._tested_on("The test split of the datalist that the model comes from", same=True)

    def external(self) -> str:
        return self._tested_on("Another datalist than the model's", same=False)

    def _tested_on(self, where: str, *, same: bool) -> str:
        """Return the result, if the thresholds come from the same datalist (or from another one)."""
        here = self._report["data"]["datalist_digest"]
        training = self._report["operating_point"]["chosen_on"].get("datalist_digest")
        if not here or not training or (here == training) is not same:
            return ""
        return f"{where}: {self._report['verdict']['result']}"

    def included(self) -> str:
        return "; ".join(
            f"{name}: {format_count(s['images'], 'image')} of {format_count(s['patients'], 'patient')}"
            for name, s in self._report["data"]["splits"].items()
        )

    def demographics(self) -> str:
        parts = [self._group(name) for name in sorted(set(self._rows.splits.tolist()))]
        return "; ".join(part for part in parts if part)

    def _group(self, split: str) -> str:
        rows, facts = self._rows.split(split), []
        sexes = Counter(sex for sex in rows.sexes.tolist() if sex)
        if sexes:
            facts.append("sex " + ", ".join(f"{sex} {count}" for sex, count in sorted(sexes.items())))
        ages = rows.ages[~np.isnan(rows.ages)]
        if len(ages):
            low, middle, high = np.percentile(ages, [25, 50, 75])
            facts.append(f"age median {middle:.0f} (quartiles {low:.0f} to {high:.0f}, n = {len(ages)})")
        return f"{split} (images): {'; '.join(facts)}" if facts else ""

    def performance(self) -> str:
        auroc, balanced = self._report["test"]["auroc"], self._report["test"]["balanced_accuracy"]
        return f"AUROC {with_interval(auroc)}, balanced accuracy {with_interval(balanced)}"

    def diagnostic(self) -> str:
        return "; ".join(
            f"{name}: sensitivity {with_interval(v['sensitivity'])}, "
            f"specificity {with_interval(v['specificity'])}"
            for name, v in self._report["test"]["per_class"].items()
        )

    def failures(self) -> str:
        confusion = np.array(self._report["test"]["confusion_matrix"])
        wrong = int(confusion.sum() - np.trace(confusion))
        gallery = (self._report["explanation"] or {}).get("gallery", [])
        shown = sum(not case["right"] for case in gallery)
        images = format_count(int(confusion.sum()), "test image", "test images")
        return f"{wrong} of {images} classified wrongly; {shown} of them are shown above"

    def limitations(self) -> str:
        return " ".join(self._report["verdict"]["limits"])

    def use(self) -> str:
        return str(self._report["notice"])
