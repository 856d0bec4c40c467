"""What an exported bundle needs besides itself: pins for pip, and a bill of materials in CycloneDX's JSON."""

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

from covid_monai.bundle.bundle_zip import compute_sha256
from covid_monai.core.atomic_files import write_text_atomically

SBOM = "sbom.cdx.json"
_LICENCE_FIELDS = ("License-Expression", "Classifier", "License")
_NETWORKS = (".pt", ".ts", ".onnx")
_OURS = "covid-monai"  # is in the archive as a wheel, and in no package index
# `python -m monai.bundle run` parses its command line with fire, which MONAI does not require.
# `bundle verify` looks into the ONNX file with onnx before it runs it.
_REQUIRED = (_OURS, "fire", "onnx", "onnxruntime")


def find_required_packages() -> dict[str, list[str]]:
    """Return what prediction needs, by name: each with the installed packages that it requires itself."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, list[str]] = {}
    waiting, base = list(_REQUIRED), {"extra": ""}
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            with suppress(PackageNotFoundError):
                needed = map(Requirement, requires(name) or ())
                wanted = [item.name for item in needed if not item.marker or item.marker.evaluate(base)]
                found[name] = sorted({canonicalize_name(item) for item in wanted})
                waiting += wanted
    return {name: [item for item in found[name] if item in found] for name in sorted(found)}


def list_pins(packages: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return each package but our own wheel with the version that is installed here.

    >>> any(pin.startswith("monai==") for pin in list_pins(find_required_packages()))
    True
    """
    return [f"{name}=={_version(name)}" for name in packages if name != _OURS]


def write_sbom(bundle: Path, name: str, number: str) -> None:
    """Write the bill of materials of an exported bundle.

    It lists networks and wheel by digest, and the packages that prediction needs in the versions of this
    environment. It holds no time and no random number, so that the same archive has the same bytes.
    """
    packages = find_required_packages()
    networks = sorted(path for path in (bundle / "models").iterdir() if path.suffix in _NETWORKS)
    files = [_file(path, bundle, "machine-learning-model") for path in networks]
    files += [_file(path, bundle, "file") for path in sorted(bundle.glob("wheels/*.whl"))]
    root = {"type": "machine-learning-model", "bom-ref": name, "name": name, "version": number}
    above = [*(item["bom-ref"] for item in files), *map(_ref, packages)]
    graph = [{"ref": _ref(item), "dependsOn": [*map(_ref, packages[item])]} for item in packages]
    content = {
        "metadata": {"component": root},
        "components": [*files, *map(_package, packages)],
        "dependencies": [{"ref": name, "dependsOn": above}, *graph],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content))  # of the content, hence the same every time
    head = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
    }
    write_text_atomically(bundle / SBOM, json.dumps({**head, **content}, indent=1) + "\n")


def _version(name: str) -> str:
    return version(name).partition("+")[0]  # a CPU build is pinned like any other


def _ref(name: str) -> str:
    return name if name == _OURS else f"pkg:pypi/{name}@{_version(name)}"


def _file(path: Path, bundle: Path, kind: str) -> dict[str, Any]:
    place = path.relative_to(bundle).as_posix()
    digest = {"alg": "SHA-256", "content": compute_sha256(path)}
    return {"type": kind, "bom-ref": place, "name": place, "hashes": [digest]}


def _package(name: str) -> dict[str, Any]:
    about: dict[str, Any] = {
        "type": "library",
        "bom-ref": _ref(name),
        "name": name,
        "version": _version(name),
    }
    if licence := _licence(metadata(name)):
        about["licenses"] = [licence]
    return about if name == _OURS else {**about, "purl": _ref(name)}


def _licence(about: PackageMetadata) -> dict[str, Any] | None:
    """Return the licence as an SPDX expression, or else as the package names it."""
    expressions, classifiers, texts = (about.get_all(key) or [] for key in _LICENCE_FIELDS)
    if expressions:
        return {"expression": expressions[0]}
    names = [item.rpartition(" :: ")[2] for item in classifiers if item.startswith("License :: ")]
    # Some packages put the whole text of their licence into the third field.
    first = names[:1] or "\n".join(texts).strip().splitlines()[:1]
    return {"license": {"name": first[0][:100]}} if first else None
