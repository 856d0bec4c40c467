"""`covid-monai bundle verify`: check that an exported bundle is complete and its parts belong together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle_zip import CHECKSUMS, ArchiveError, open_bundle
from covid_monai.core.errors import first_line
from covid_monai.export.archive import RECORD, WHEELS
from covid_monai.export.network_formats import check_parity
from covid_monai.inference.classifier import Classifier


def verify_bundle(path: str | Path) -> dict[str, Any]:
    """Check an exported bundle: digests, parts that belong together, and the probabilities of its networks.

    Digests show damage, not the author: whoever changes a file can write its digest too. Weights are read
    without running code in them. `configs/*.yaml` are code, as in every MONAI bundle.

    Args:
        path: Archive of `covid-monai export`, or the folder that it was unpacked to.

    Returns:
        The archive's record (`export.json`), with the parity measured here.

    Raises:
        ArchiveError: Something is wrong; the message names everything that is.
        FileNotFoundError: `path` does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Give an archive or a bundle folder.")
    with open_bundle(path) as root:
        if not (root / CHECKSUMS).is_file():
            raise ArchiveError(
                f"{path} has no {CHECKSUMS}, so it cannot be verified. Give an archive of covid-monai export."
            )
        bundle = Bundle(root)  # compares the digests
        record = _read_record(bundle)
        problems = [
            *_check_record(bundle, record),
            # Loads weights, gate, calibration and operating point as a prediction does.
            *_catch_problem(lambda: Classifier(bundle.root, device="cpu", backend="torch")),
        ]
        if not list((root / WHEELS).glob("covid_monai-*.whl")):
            problems.append(f"{WHEELS}/ holds no wheel of covid_monai")
        if not problems:
            problems = _catch_problem(
                lambda: record["parity"].update(max_abs_difference=check_parity(bundle)[1])
            )
        if problems:
            raise ArchiveError("; ".join(problems))
    return record


def _read_record(bundle: Bundle) -> dict[str, Any]:
    path = bundle.root / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["parity"]["tolerance"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArchiveError(f"{path} is missing or damaged. Export the bundle again.") from error
    return dict(record)


def _check_record(bundle: Bundle, record: dict[str, Any]) -> list[str]:
    problems = []
    if bundle.metadata.get("preprocessing") != bundle.preprocessing_contract:
        problems.append("configs/metadata.json describes another preprocessing than configs/inference.yaml")
    if bundle.checkpoint_path.is_file():
        identity = bundle.identity
        problems += [
            f"{RECORD} has another {key} than the bundle"
            for key in identity
            if record.get(key) != identity[key]
        ]
    return problems


def _catch_problem(action: Callable[[], Any]) -> list[str]:
    try:
        action()
    except (ImportError, MemoryError):  # these say nothing about the archive
        raise
    except Exception as error:  # noqa: BLE001  # damaged files make torch, ONNX Runtime and json raise many types
        return [first_line(error)]
    return []
