"""Export of the network to ONNX: from `image`, `[N, 1, S, S]` float32, to `pred`, logits `[N, K]`."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from monai.networks.utils import convert_to_onnx

from covid_monai.bundle import Bundle
from covid_monai.core.json_log import log_level


def export_onnx(bundle: Bundle) -> bytes:
    """Return the ONNX file for batches of any size; the same weights give the same bytes."""
    with suppress_export_warnings():
        model = convert_to_onnx(
            bundle.load_network(),
            [example_images(bundle)],
            input_names=["image"],
            output_names=["pred"],
            dynamic_shapes=({0: torch.export.Dim("images")},),
            external_data=False,
            verbose=False,
        )
    # The exporter records for each node its source file on this machine and the line.
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    identity = {**bundle.identity, "class_names": json.dumps(bundle.class_names)}
    for key, value in sorted(identity.items()):
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def example_images(bundle: Bundle) -> torch.Tensor:
    """Return two images: for one image an exporter would make the batch size a constant."""
    return torch.zeros(2, 1, bundle.image_size, bundle.image_size)


@contextmanager
def suppress_export_warnings() -> Iterator[None]:
    """Suppress the warnings that TorchScript is deprecated (MONAI Label loads it) and torchvision missing."""
    with warnings.catch_warnings(), log_level("torch.onnx", logging.ERROR):
        warnings.simplefilter("ignore")
        yield
