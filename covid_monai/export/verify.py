"""`covid-monai bundle verify`: is this archive, or the folder it was unpacked to, whole and of one piece?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle_zip import CHECKSUMS, ArchiveError, open_bundle
from covid_monai.core.errors import first_line
from covid_monai.export.package import RECORD, WHEELS
from covid_monai.export.parity import check_parity
from covid_monai.inference.classifier import Classifier


def verify_bundle(path: str | Path) -> dict[str, Any]:
    """Check an exported bundle: every digest, what belongs together, and what the three forms say.

    Digests tell damage, not who made the archive: whoever changes a file can write its digest too. Weights
    are read without running code of theirs; `configs/*.yaml` are code, as in every MONAI bundle.

    Args:
        path: An archive of `covid-monai export`, or the folder it was unpacked to.

    Returns:
        The archive's record (`export.json`), with the parity measured here.

    Raises:
        ArchiveError: Naming all that is wrong.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give an archive or a bundle folder.")
    with open_bundle(path) as root:
        if not (root / CHECKSUMS).is_file():
            raise ArchiveError(
                f"{path}: no {CHECKSUMS}: not made by covid-monai export, so nothing can be verified."
            )
        bundle = Bundle(root)  # compares the digests
        record = _read_record(bundle)
        problems = [problem for check in (_contract, _parts, _wheel) for problem in check(bundle, record)]
        if not problems:
            problems = _attempt(lambda: record["parity"].update(max_abs_difference=check_parity(bundle)[1]))
        if problems:
            raise ArchiveError("; ".join(problems))
    return record


def _read_record(bundle: Bundle) -> dict[str, Any]:
    try:
        record = json.loads((bundle.root / RECORD).read_text(encoding="utf-8"))
        record["parity"]["tolerance"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArchiveError(
            f"{bundle.root / RECORD} is missing or not as covid-monai export writes it"
        ) from error
    return dict(record)


def _contract(bundle: Bundle, record: dict[str, Any]) -> list[str]:
    problems = []
    if bundle.metadata.get("preprocessing") != bundle.preprocessing_contract:
        problems.append("configs/metadata.json describes another preprocessing than configs/inference.yaml")
    if bundle.checkpoint_path.is_file():
        problems += [
            f"{RECORD} has another {key} than the bundle"
            for key, value in bundle.identity.items()
            if record.get(key) != value
        ]
    return problems


def _parts(bundle: Bundle, _: dict[str, Any]) -> list[str]:
    """Weights, gate, calibration and operating point, loaded as a prediction loads them."""
    return _attempt(lambda: Classifier(bundle.root, device="cpu", backend="torch"))


def _wheel(bundle: Bundle, _: dict[str, Any]) -> list[str]:
    return (
        [] if list((bundle.root / WHEELS).glob("covid_monai-*.whl")) else [f"{WHEELS}/ holds no covid_monai"]
    )


def _attempt(action: Callable[[], Any]) -> list[str]:
    try:
        action()
    except (ImportError, MemoryError):  # say nothing about the archive
        raise
    except Exception as error:  # damaged files make torch, ONNX Runtime and json raise whatever they like
        return [first_line(error)]
    return []
