"""A bundle as one checked zip archive: configs, weights, TorchScript, ONNX, model card, wheel, digests."""

import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import covid_monai
from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle_zip import (
    CHECKSUMS,
    ArchiveError,
    open_bundle,
    read_checksums,
    write_checksums,
    write_zip,
)
from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.core.errors import first_line
from covid_monai.core.progress import progress_bar
from covid_monai.export.foreign_code import find_code
from covid_monai.export.network_formats import ONNX, TOLERANCE, TORCHSCRIPT, check_parity, write_formats
from covid_monai.export.packages import find_required_packages, list_pins, write_sbom
from covid_monai.inference.classifier import Classifier

logger = logging.getLogger(__name__)

RECORD = "export.json"
WHEELS = "wheels"
_SOURCES = ("covid_monai", "pyproject.toml", "LICENSE", "README.md")
_NO_CACHES = shutil.ignore_patterns("__pycache__")
_SOURCE_DATE_EPOCH = "315532800"  # 1980-01-01: files in the wheel carry no time of their own


def export_bundle(
    bundle_dir: str | Path, output: str | Path, *, images: Sequence[Path] = (), trust_code: bool = False
) -> Path:
    """Write `NAME-VERSION.zip` into the folder `output`, and return its path.

    Nothing is written if an exported network differs from the checkpoint on twelve phantoms or on `images`
    (files or folders). A clean checkout of the same commit, the same weights and installed packages give the
    same bytes.

    Raises:
        FileExistsError: `output` is a file, or holds an export of other weights under the same name.
        FileNotFoundError: There is no bundle, no weights, or no source tree to build the wheel from.
        ValueError: Weights, gate, calibration and operating point do not belong together.
        ParityError: `model.ts` or `model.onnx` gives other probabilities than `model.pt`.
        UntrustedCode: The bundle's YAML holds code that prediction needs, and `trust_code` is false.
    """
    source = Bundle(bundle_dir, trust_code=trust_code)
    path = Path(output) / f"{source.name}-{source.metadata['version']}.zip"
    _check_target(path, source)
    with (
        TemporaryDirectory(prefix="covid_monai_export_") as temporary,
        progress_bar("checking", total=4, unit="steps") as progress,
    ):

        def start(step: str) -> None:
            logger.info(step)
            progress.advance()
            progress.describe(step)

        bundle = _copy(source, Path(temporary) / source.name)
        _check_parts(bundle)
        start(f"writing {TORCHSCRIPT} and {ONNX}")
        write_formats(bundle)
        start("comparing probabilities")
        count, differences = check_parity(bundle, images)
        logger.info("Largest differences of a probability on %d images: %s", count, differences)
        start(f"building the wheel of covid_monai {covid_monai.__version__}")
        build_wheel(bundle.root / WHEELS)
        pins = "".join(f"{pin}\n" for pin in list_pins(find_required_packages()))
        write_text_atomically(bundle.root / WHEELS / "requirements.txt", pins)
        record = {
            **bundle.identity,
            "covid_monai": covid_monai.__version__,
            "class_names": list(bundle.class_names),
            # Without the differences themselves: they vary with threads and processors.
            "parity": {"images": count, "tolerance": TOLERANCE},
        }
        write_text_atomically(bundle.root / RECORD, json.dumps(record, indent=2) + "\n")
        write_sbom(bundle.root, source.name, source.metadata["version"])
        write_checksums(bundle.root)
        write_zip(bundle.root, path)
    return path


def _check_target(path: Path, source: Bundle) -> None:
    if path.parent.is_file():
        raise FileExistsError(f"{path.parent} is a file. Name a folder for the archive.")
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(f"{source.name}/{RECORD}"))["weights_sha256"]
        if found != source.identity["weights_sha256"]:
            raise FileExistsError(
                f"{path} holds other weights ({found[:12]}). Remove it, name another folder, or give this "
                "bundle another version (configs/metadata.json)."
            )


def _check_parts(bundle: Bundle) -> None:
    """Raise `ValueError` if parts do not belong together."""
    if bundle.is_segmentation:
        bundle.load_network()
    else:
        Classifier(bundle.root, device="cpu", backend="torch", trust_code=bundle.trust_code)


def _copy(source: Bundle, folder: Path) -> Bundle:
    source.copy_with_models(folder, root=source.name)
    metadata = {**source.metadata, "preprocessing": source.preprocessing_contract}
    write_text_atomically(folder / "configs" / "metadata.json", json.dumps(metadata, indent=4) + "\n")
    return Bundle(folder, trust_code=source.trust_code)


def build_wheel(folder: Path) -> None:
    """Build the wheel of this source tree, without the network and without a change to the tree."""
    tree = Path(covid_monai.__file__).parents[1]
    if not (tree / "pyproject.toml").is_file():
        raise FileNotFoundError(
            f"{tree} holds no pyproject.toml, so the wheel for the archive cannot be built. Export from a "
            "clone of the repository."
        )
    with TemporaryDirectory() as temporary:
        for path in map(tree.joinpath, _SOURCES):
            copy = partial(shutil.copytree, ignore=_NO_CACHES) if path.is_dir() else shutil.copy2
            copy(path, Path(temporary) / path.name)
        command = [sys.executable, "-P", "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), temporary]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _SOURCE_DATE_EPOCH}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, umask=0o022)  # noqa: S603
    if done.returncode:
        raise RuntimeError(
            "The wheel of covid_monai cannot be built. Install the extra export and try again: "
            f"{done.stderr.strip()[-500:]}"
        )


def verify_bundle(path: str | Path) -> dict[str, Any]:
    """Check an exported bundle: digests, parts that belong together, and the probabilities of its networks.

    A folder that `covid-monai adapt` wrote has digests and weights only, and is checked for these.

    Digests show damage, not the author: whoever changes a file can write its digest too. No code of the
    bundle is run. What MONAI's own commands would run of it is named.

    `path` is the archive, or the folder that it was unpacked to. The result is the archive's record
    (`export.json`), with the parity measured here, and `code`: see `find_code`.

    Raises:
        ArchiveError: Something is wrong; the message names everything that is.
        UntrustedCode: Preprocessing or network need code, so their probabilities cannot be computed.
        FileNotFoundError: `path` does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Give an archive or a bundle folder.")
    with open_bundle(path) as root:
        if not (root / CHECKSUMS).is_file():
            raise ArchiveError(
                f"{path} has no {CHECKSUMS}, so it cannot be verified. Give an archive of covid-monai "
                "export, or the folder that covid-monai adapt wrote."
            )
        bundle = Bundle(root)  # compares the digests
        exported = path.is_file() or RECORD in read_checksums(root / CHECKSUMS)
        record = _read_record(bundle) if exported else _describe(bundle)
        problems = list(_check_record(bundle, record))
        with _collect_error(problems):  # loads weights, gate, calibration and operating point
            _check_parts(bundle)
        if exported:
            problems += _check_forms(bundle, record, compare=not problems)
        record["code"] = find_code(root)
        if problems:
            raise ArchiveError("; ".join([*problems, *record["code"]]))
    return record


def _describe(bundle: Bundle) -> dict[str, Any]:
    """Return the record of a bundle that was adapted and not exported: it has the weights alone."""
    return {**bundle.identity, "class_names": [*bundle.class_names], "parity": {"max_abs_difference": {}}}


def _check_forms(bundle: Bundle, record: dict[str, Any], *, compare: bool) -> list[str]:
    """Return what is wrong with the parts that only an export has; `compare` measures the parity, too."""
    problems = []
    if bundle.metadata.get("preprocessing") != bundle.preprocessing_contract:
        problems.append("configs/metadata.json describes another preprocessing than configs/inference.yaml")
    if not list((bundle.root / WHEELS).glob("covid_monai-*.whl")):
        problems.append(f"{WHEELS}/ holds no wheel of covid_monai")
    if compare and not problems:
        with _collect_error(problems):
            record["parity"]["max_abs_difference"] = check_parity(bundle)[1]
    return problems


def _read_record(bundle: Bundle) -> dict[str, Any]:
    path = bundle.root / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["parity"]["tolerance"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArchiveError(f"{path} is missing or damaged. Export the bundle again.") from error
    return dict(record)


def _check_record(bundle: Bundle, record: dict[str, Any]) -> Iterator[str]:
    # MONAI's own programs evaluate the metadata too, so a class there must be one of the checked names.
    if _metadata_classes(bundle.metadata) != [*bundle.class_names]:
        yield "configs/metadata.json names other classes than configs/inference.yaml"
    if bundle.checkpoint_path.is_file():
        for key, value in bundle.identity.items():
            if record.get(key) != value:
                yield f"{RECORD} has another {key} than the bundle"


def _metadata_classes(metadata: dict[str, Any]) -> list[Any]:
    try:
        return [*metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values()]
    except (KeyError, TypeError, AttributeError):
        return []


@contextmanager
def _collect_error(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except (ImportError, MemoryError):  # these say nothing about the archive
        raise
    except Exception as error:  # noqa: BLE001  # damaged files make torch, ONNX Runtime and json raise many types
        problems.append(first_line(error))
