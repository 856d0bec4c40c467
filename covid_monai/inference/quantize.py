"""A bundle's network in 8 bits: calibrated on training images, kept only if it is as good on validation."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from covid_monai.bundle import Bundle
from covid_monai.core.errors import require_extra
from covid_monai.core.progress import progress_bar
from covid_monai.evaluation.decisions.operating_point import OperatingPoint, decide
from covid_monai.evaluation.metrics.metrics import compute_metrics
from covid_monai.inference.backends import load_backend
from covid_monai.inference.backends.choice import Backend
from covid_monai.inference.backends.int8 import write_quantised
from covid_monai.inference.probabilities import to_probabilities

MAX_AUROC_LOSS = 0.002
CALIBRATION_IMAGES = 200  # activations need their range only
_BATCH = 16


class QuantisationError(ValueError):
    """A network that loses too much in 8 bits."""


def quantise(
    bundle: Bundle, training: Sequence[dict], validation: Sequence[dict], *, seed: int = 0, workers: int = 2
) -> dict[str, Any]:
    """Write the bundle's `models/model_int8.onnx` and its record, or nothing if it is not as good.

    Args:
        bundle: With trained weights.
        training: Records with `image`; at most `CALIBRATION_IMAGES`, drawn at random, give the ranges of the
            activations.
        validation: Records with `image` and `label`, on which both networks are compared.
        seed: Of the draw.
        workers: Threads that read and preprocess, and images through the network at once.

    Returns:
        The record: `auroc` (macro, of the network in fp32), number of images, and for each backend that is
        installed `auroc_loss`, `max_abs_difference` (of a probability) and `decisions_changed` (share).

    Raises:
        QuantisationError: If a backend's AUROC falls by more than `MAX_AUROC_LOSS`.
        ValueError: If there are no images, or no AUROC as all are of one class.
        ImportError: If ONNX Runtime is not installed.
    """
    if not training or not validation:
        raise ValueError("quantising needs training and validation images; the datalist lacks one of them.")
    order = np.random.default_rng(seed).permutation(len(training))[:CALIBRATION_IMAGES]
    with ThreadPoolExecutor(workers) as pool:
        drawn = [training[index] for index in order]
        radiographs = np.concatenate(list(_batches(bundle, drawn, pool, "calibrating")))
        content = _quantised(bundle, radiographs)
        networks = _networks(bundle, content, workers)
        logits: dict[str, list[NDArray[np.float32]]] = {name: [] for name in networks}
        for images in _batches(bundle, validation, pool, "comparing"):
            for name, network in networks.items():
                logits[name].append(network(images))
    rows = {
        name: to_probabilities(np.concatenate(parts), bundle.calibration) for name, parts in logits.items()
    }
    measured = _compare(bundle, rows, [record["label"] for record in validation])
    worst = max(measured["backends"].values(), key=lambda one: one["auroc_loss"])["auroc_loss"]
    if worst > MAX_AUROC_LOSS:
        raise QuantisationError(
            f"{bundle.root}: in int8 the AUROC on {len(validation)} validation images falls by {worst:.4f} "
            f"from {measured['auroc']:.4f}, more than {MAX_AUROC_LOSS}: nothing is written. Use fp32 or bf16."
        )
    record = {**measured, "calibration_images": len(radiographs), "validation_images": len(validation)}
    write_quantised(bundle, content, record)
    return record


def _batches(
    bundle: Bundle, records: Sequence[dict], pool: ThreadPoolExecutor, what: str
) -> Iterator[NDArray[np.float32]]:
    """Preprocessed images `[N, 1, S, S]`, a few at a time."""

    def read(record: dict) -> NDArray[np.float32]:
        image: NDArray[np.float32] = bundle.preprocessing({"image": record["image"]})["image"].numpy()
        return image

    with progress_bar(what, len(records)) as bar:
        for begin in range(0, len(records), _BATCH):
            batch = records[begin : begin + _BATCH]
            yield np.stack(list(pool.map(read, batch)))
            bar.advance(len(batch))


def _quantised(bundle: Bundle, images: NDArray[np.float32]) -> bytes:
    """Weights in 8 bits with a range per channel; 7, for old processors, lose too much."""
    with require_extra("export"):
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        from covid_monai.inference.backends.onnx_form import onnx_bytes

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self._left, None)
            return None if image is None else {"image": image[None]}

    with TemporaryDirectory(prefix="covid_monai_") as name:
        plain, prepared, done = (Path(name) / f"{step}.onnx" for step in ("plain", "prepared", "done"))
        plain.write_bytes(onnx_bytes(bundle))
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            done,
            Images(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return done.read_bytes()


def _networks(bundle: Bundle, content: bytes, parallel: int) -> dict[str, Backend]:
    """The network as it is, and in 8 bits by each backend that is installed."""
    from covid_monai.inference.backends import onnxruntime, openvino

    cpu = torch.device("cpu")
    networks = {
        "fp32": load_backend("onnxruntime", bundle, precision="fp32", device=cpu, parallel=parallel),
        "onnxruntime": onnxruntime.run(content, parallel),
    }
    if find_spec("openvino"):
        networks["openvino"] = openvino.run(content, bundle.image_size, precision="int8", parallel=parallel)
    return networks


def _compare(
    bundle: Bundle, rows: Mapping[str, NDArray[np.float64]], labels: Sequence[int]
) -> dict[str, Any]:
    point = bundle.operating_point or OperatingPoint.argmax(bundle.class_names)
    decisions = {name: decide(row, point) for name, row in rows.items()}
    auroc = {
        name: compute_metrics(labels, decisions[name], row, bundle.class_names)["auroc"]
        for name, row in rows.items()
    }
    if auroc["fp32"] is None:
        raise ValueError("all validation images are of one class: what int8 loses cannot be measured.")
    backends = {
        name: {
            "auroc_loss": auroc["fp32"] - auroc[name],
            "max_abs_difference": float(np.abs(rows[name] - rows["fp32"]).max()),
            "decisions_changed": float(np.mean(decisions[name] != decisions["fp32"])),
        }
        for name in rows
        if name != "fp32"
    }
    return {"auroc": auroc["fp32"], "backends": backends}
