"""The adapted bundle on disk: a whole copy of the bundle that it was made of, with the parts that changed."""

import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from covid_monai.adaptation.head import Head
from covid_monai.adaptation.report import render_report, summary
from covid_monai.adaptation.site_fit import SiteModel
from covid_monai.adaptation.site_images import head_of, put_head
from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle import save_checkpoint
from covid_monai.bundle.bundle_zip import write_checksums
from covid_monai.bundle.config_editing import ADAPTED_SECTION
from covid_monai.core.atomic_files import make_private_folder, write_text_atomically
from covid_monai.core.vocabulary import NORMAL
from covid_monai.gate.gate import Gate

REPORT = "adaptation"  # name of the report in docs/, as .md and .json


def start_of(bundle: Bundle) -> SiteModel:
    """Return the parts of a bundle that is to be adapted.

    Raises:
        ValueError: If the bundle cannot be adapted: it was adapted before, has no class `normal`, no
            calibration or no operating point.
    """
    calibration, point, unseen = bundle.calibration, bundle.operating_point, bundle.unseen_sources
    if NORMAL not in bundle.class_names:
        classes = ", ".join(bundle.class_names)
        raise ValueError(
            f"{bundle.root} has the classes {classes}. A bundle needs a class {NORMAL} to be adapted."
        )
    if calibration is None or point is None:
        raise ValueError(
            f"{bundle.root} has no calibration or no operating point (models/calibration.json, "
            "models/operating_point.json). Adapt the output folder of a finished training."
        )
    if unseen is not None and unseen.adapted is not None:
        raise ValueError(f"{bundle.root} was adapted before. Adapt the bundle that it was made of.")
    return SiteModel(head_of(bundle.load_network()), calibration, point, unseen)


def check_output(output: Path) -> None:
    """Raise `FileExistsError` for a folder that holds anything, or for a file."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} exists and is not empty. Name a new folder for the adapted bundle.")


def write_site_bundle(source: Bundle, model: SiteModel, report: dict[str, Any], output: Path) -> Bundle:
    """Write the bundle, complete or not at all, and return it.

    Args:
        source: Bundle that was adapted.
        model: Parts that take the place of its own.
        report: Content of `docs/adaptation.json`; see `make_report`.
        output: New or empty folder.
    """
    check_output(output)
    make_private_folder(output.absolute().parent)
    folder = output.absolute().with_name(f".{output.name}.{os.getpid()}.tmp")
    shutil.rmtree(folder, ignore_errors=True)  # a killed process with the same number has left it
    try:
        make_private_folder(folder)
        source.copy_with_models(folder, root=str(output.absolute()))
        _write_parts(folder, source, model)
        _write_words(folder, source, report)
        write_checksums(folder)
        _check(Bundle(folder, trust_code=source.trust_code))
        folder.rename(output)  # an empty folder gives way
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Bundle(output, trust_code=source.trust_code)


def _check(bundle: Bundle) -> None:
    """Raise an error if the written parts do not belong together."""
    bundle.load_network()
    Gate.load(bundle)


def _write_parts(folder: Path, source: Bundle, model: SiteModel) -> None:
    bundle, old = Bundle(folder, trust_code=source.trust_code), start_of(source)
    tuned = not _same(old.head, model.head)
    if tuned:
        network = source.load_network()
        put_head(network, model.head)
        save_checkpoint(bundle.checkpoint(network), bundle.checkpoint_path)
        if (gate := Gate.load(source)) is not None:  # it judges the picture, whatever the weights are
            replace(gate, weights_sha256=bundle.identity["weights_sha256"]).save(bundle.gate_path)
    if tuned or model.calibration.temperature != old.calibration.temperature:
        # Drift would be measured against probabilities that this bundle does not give.
        bundle.score_reference_path.unlink(missing_ok=True)
    model.calibration.save(bundle.calibration_path)
    model.operating_point.save(bundle.operating_point_path)
    if model.unseen is not None:
        model.unseen.save(bundle.unseen_sources_path)


def _same(one: Head, other: Head) -> bool:
    return all((a == b).all() for a, b in zip(one, other, strict=True))


def _write_words(folder: Path, source: Bundle, report: dict[str, Any]) -> None:
    """Write version, report and model card."""
    digest = hashlib.sha256(json.dumps(report, sort_keys=True).encode()).hexdigest()
    version = f"{source.metadata['version']}+site.{digest[:8]}"
    changelog = {**source.metadata.get("changelog", {}), version: f"adapted, see docs/{REPORT}.md"}
    metadata = {**source.metadata, "version": version, "changelog": changelog}
    write_text_atomically(folder / "configs" / "metadata.json", json.dumps(metadata, indent=4) + "\n")
    docs = folder / "docs"
    write_text_atomically(docs / f"{REPORT}.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    write_text_atomically(docs / f"{REPORT}.md", render_report(report))
    card = docs / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {source.name}\n"
    paragraph = " ".join(summary(report)[:2])
    section = f"{ADAPTED_SECTION}\n\n{paragraph} Figures before and after: [{REPORT}.md]({REPORT}.md).\n\n"
    before, heading, after = re.split(r"(^## |\Z)", text, maxsplit=1, flags=re.MULTILINE)
    write_text_atomically(card, f"{before.rstrip()}\n\n{section}{heading}{after}")
