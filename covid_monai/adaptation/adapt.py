"""The adaptation of a bundle to one hospital, from images to the written bundle."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from covid_monai.adaptation.before_after import answer, cross_fit, measure
from covid_monai.adaptation.report import make_report
from covid_monai.adaptation.site_bundle import check_output, start_of, write_site_bundle
from covid_monai.adaptation.site_fit import SiteModel, fit_site
from covid_monai.adaptation.site_images import UNKNOWN, SiteImages, read_folder, read_labelled, score_images
from covid_monai.core.vocabulary import NORMAL, check_class_names
from covid_monai.evaluation.decisions.site_cut import patients_needed
from covid_monai.evaluation.decisions.unseen_sources import FALSE_ALARM_LIMIT
from covid_monai.inference.classifier import Classifier


def adapt_bundle(
    bundle_dir: Path,
    output: Path,
    *,
    datalist: Path | None = None,
    normals: Path | None = None,
    unlabelled: Path | None = None,
    least_share_of_normals: float | None = None,
    fine_tune: bool = False,
    site: str | None = None,
    seed: int = 0,
    device: str | None = None,
    trust_code: bool = False,
) -> dict[str, Any]:
    """Write a bundle for one hospital into the new folder `output`, and return its report.

    Args:
        bundle_dir: Bundle to adapt.
        output: New or empty folder.
        datalist: Labelled images of the hospital; its test split is not used.
        normals: Folder with images of normal adults, instead of a datalist.
        unlabelled: Folder with images of any adults, instead of a datalist.
        least_share_of_normals: Lower bound of the share of normal patients in `unlabelled`, from 0 to 1.
        fine_tune: Whether to fit the last layer too.
        site: Name of the hospital for the report; letters, digits, spaces and `_-+/().`.
        seed: Seed of every division of the patients.
        device: "cpu", "cuda"...; None chooses the GPU if there is one.
        trust_code: Run the code in the YAML of the bundle.

    Raises:
        FileExistsError: If `output` holds anything.
        FileNotFoundError: If bundle, datalist or folder is missing.
        ValueError: If the options contradict each other, or bundle or images cannot be used.
    """
    given = {"datalist": datalist, "normals": normals, "unlabelled": unlabelled}
    _check(given, least_share_of_normals, fine_tune=fine_tune)
    check_output(output)
    name = None if site is None else check_class_names([site], where="--site", remedy="Shorten it.")[0]
    classifier = Classifier(bundle_dir, device=device, backend="torch", trust_code=trust_code)
    start, names = start_of(classifier.bundle), classifier.class_names
    if datalist is not None:
        items, notes = read_labelled(datalist, names)
    elif normals is not None:
        items, notes = read_folder(normals, names.index(NORMAL))
    else:
        items, notes = read_folder(Path(str(unlabelled)), UNKNOWN)
    images = score_images(items, classifier, notes)
    options: dict[str, Any] = {"fine_tune": fine_tune, "seed": seed}
    options["least_share_of_normals"] = least_share_of_normals
    model = _with_facts(fit_site(images, start, **options), site=name)
    report = report_of(images, start, model, options, made_of=classifier.bundle.identity)
    write_site_bundle(classifier.bundle, model, report, output)
    return report


def report_of(
    images: SiteImages,
    start: SiteModel,
    model: SiteModel,
    options: Mapping[str, Any],
    *,
    made_of: dict[str, str],
) -> dict[str, Any]:
    """Measure the start and the adaptation, and return the report; see `make_report`."""
    names = start.calibration.class_names
    share = options["least_share_of_normals"]
    counted = images.labels == (names.index(NORMAL) if share is None else UNKNOWN)
    limit = FALSE_ALARM_LIMIT * (1 if share is None else share)
    fit = partial(fit_site, start=start, **options)
    crossed = cross_fit(
        images, fit, needed=patients_needed(limit), counted=np.asarray(counted), seed=options["seed"]
    )
    before = measure(answer(images, start), images, names)
    after = None if crossed.answers is None else measure(crossed.answers, images, names)
    return make_report(model, made_of, before, after, crossed.parts)


def _check(given: Mapping[str, Path | None], share: float | None, *, fine_tune: bool) -> None:
    named = [f"--{name}" for name, path in given.items() if path is not None]
    if len(named) != 1:
        found = " and ".join(named) or "none of them"
        raise ValueError(f"Give one of --datalist, --normals and --unlabelled; found {found}.")
    if (given["unlabelled"] is None) != (share is None):
        raise ValueError(
            "--unlabelled and --least-share-of-normals need each other: the share says how many of the "
            "patients without a label are normal at least, such as 0.3."
        )
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"--least-share-of-normals is {share:g}. Give a share above 0, up to 1.")
    if fine_tune and given["datalist"] is None:
        raise ValueError("--fine-tune-heads needs labelled images of every class. Give --datalist.")


def _with_facts(model: SiteModel, *, site: str | None) -> SiteModel:
    if model.unseen is None or model.unseen.adapted is None:
        return model
    facts = {"site": site, "date": datetime.now().astimezone().date().isoformat(), **model.unseen.adapted}
    return replace(model, unseen=replace(model.unseen, adapted=facts))
