"""The quantised network of a bundle: `models/model_int8.onnx`, and beside it what was measured on it."""

import hashlib
import json
from typing import Any

from covid_monai.bundle import Bundle, CheckpointError
from covid_monai.core.atomic_files import replace_atomically, write_text_atomically


def read_quantised(bundle: Bundle) -> bytes:
    """The ONNX file, whose operators compute in 8 bits.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If it was made of other weights, or has changed since.
    """
    path, record_path = bundle.quantised_path, bundle.quantised_record_path
    if not path.is_file() or not record_path.is_file():
        raise FileNotFoundError(
            f"{bundle.root} has no quantised network (models/{path.name} with {record_path.name}): make it "
            "with covid-monai bundle quantize, or use another precision."
        )
    content = path.read_bytes()
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        belongs = {key: record[key] for key in ("network_digest", "onnx_sha256")} == _digests(bundle, content)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{record_path} is damaged ({error}): quantise again.") from error
    if not belongs:
        raise CheckpointError(
            f"{path} was made of other weights than this bundle's, or has changed since: make it again with "
            "covid-monai bundle quantize."
        )
    return content


def write_quantised(bundle: Bundle, content: bytes, measured: dict[str, Any]) -> None:
    """Write both files; the record last, as nothing is used without it."""
    with replace_atomically(bundle.quantised_path) as temporary:
        temporary.write_bytes(content)
    record = {**_digests(bundle, content), **measured}
    write_text_atomically(bundle.quantised_record_path, json.dumps(record, indent=2) + "\n")


def _digests(bundle: Bundle, content: bytes) -> dict[str, str]:
    return {
        "network_digest": bundle.network_digest,
        "onnx_sha256": hashlib.sha256(content).hexdigest(),
    }
