"""Write a bundle as one zip archive: configs, weights, TorchScript, ONNX, model card, wheel, digests."""

import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryDirectory

import covid_monai
from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle_zip import write_checksums, write_zip
from covid_monai.bundle.config_editing import set_bundle_root
from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.core.progress import progress_bar
from covid_monai.export.network_formats import ONNX, TOLERANCE, TORCHSCRIPT, check_parity, write_formats
from covid_monai.inference.classifier import Classifier

logger = logging.getLogger(__name__)

RECORD = "export.json"
WHEELS = "wheels"
# `python -m monai.bundle run` parses its command line with fire, which MONAI does not require.
_REQUIRED = ("covid-monai", "fire", "onnxruntime")
_SOURCES = ("covid_monai", "pyproject.toml", "LICENSE", "README.md")
_SOURCE_DATE_EPOCH = "315532800"  # 1980-01-01: files in the wheel carry no time of their own


def export_bundle(bundle_dir: str | Path, output: str | Path, *, images: Sequence[Path] = ()) -> Path:
    """Write `NAME-VERSION.zip`, or nothing if an exported network differs from the checkpoint.

    A clean checkout of the same commit, the same weights and installed packages give the same bytes.

    Args:
        bundle_dir: Bundle with trained weights.
        output: Folder for the archive.
        images: Folders or files of images to compare the networks on, beside twelve phantoms.

    Returns:
        Path of the archive.

    Raises:
        FileExistsError: `output` is a file, or holds an export of other weights under the same name.
        FileNotFoundError: There is no bundle, no weights, or no source tree to build the wheel from.
        ValueError: Weights, gate, calibration and operating point do not belong together.
        ParityError: `model.ts` or `model.onnx` gives other probabilities than `model.pt`.
    """
    source = Bundle(bundle_dir)
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
        Classifier(bundle.root, device="cpu", backend="torch")  # raises if parts do not belong together
        start(f"writing {TORCHSCRIPT} and {ONNX}")
        write_formats(bundle)
        start("comparing probabilities")
        count, differences = check_parity(bundle, images)
        logger.info("Largest differences of a probability on %d images: %s", count, differences)
        start(f"building the wheel of covid_monai {covid_monai.__version__}")
        build_wheel(bundle.root / WHEELS)
        pins = "".join(f"{pin}\n" for pin in list_pins())
        write_text_atomically(bundle.root / WHEELS / "requirements.txt", pins)
        _write_record(bundle, images=count)
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


def _copy(source: Bundle, folder: Path) -> Bundle:
    source.copy_files(folder)
    (folder / "models").mkdir()
    for path in source.model_files:
        if path.is_file():
            shutil.copy2(path, folder / "models" / path.name)
    set_bundle_root(folder, source.name)
    metadata = {**source.metadata, "preprocessing": source.preprocessing_contract}
    write_text_atomically(folder / "configs" / "metadata.json", json.dumps(metadata, indent=4) + "\n")
    return Bundle(folder)


def _write_record(bundle: Bundle, *, images: int) -> None:
    """Write `export.json`, without the differences themselves: they vary with threads and processors."""
    record = {
        **bundle.identity,
        "covid_monai": covid_monai.__version__,
        "class_names": list(bundle.class_names),
        "parity": {"images": images, "tolerance": TOLERANCE},
    }
    write_text_atomically(bundle.root / RECORD, json.dumps(record, indent=2) + "\n")


def build_wheel(folder: Path) -> None:
    """Build the wheel of this source tree, without the network and without a change to the tree.

    Raises:
        FileNotFoundError: covid_monai is not installed from a source tree.
        RuntimeError: The build fails.
    """
    tree = Path(covid_monai.__file__).parents[1]
    if not (tree / "pyproject.toml").is_file():
        raise FileNotFoundError(
            f"{tree} holds no pyproject.toml, so the wheel for the archive cannot be built. Export from a "
            "clone of the repository."
        )
    with TemporaryDirectory() as temporary:
        for name in _SOURCES:
            path = tree / name
            if path.is_dir():
                shutil.copytree(path, Path(temporary) / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(path, Path(temporary) / name)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), temporary]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _SOURCE_DATE_EPOCH}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, umask=0o022)  # noqa: S603
    if done.returncode:
        raise RuntimeError(
            "The wheel of covid_monai cannot be built. Install the extra export and try again: "
            f"{done.stderr.strip()[-500:]}"
        )


def list_pins() -> list[str]:
    """Return what prediction needs besides our wheel, each with the version that is installed here.

    >>> any(pin.startswith("monai==") for pin in list_pins())
    True
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    waiting = list(_REQUIRED)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = version(name).partition("+")[0]  # a CPU build is pinned like any other
        except PackageNotFoundError:
            continue
        needed = [Requirement(text) for text in requires(name) or ()]
        waiting += [
            item.name for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})
        ]
    found.pop("covid-monai", None)
    return [f"{name}=={number}" for name, number in sorted(found.items())]
