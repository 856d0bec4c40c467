"""The network as ONNX, from the tensor `image`, `[N, 1, S, S]` float32, to `pred`, logits `[N, K]`."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from monai.networks.utils import convert_to_onnx

from covid_monai.bundle import Bundle


def onnx_bytes(bundle: Bundle) -> bytes:
    """The file for any number of images at once; the same weights give the same bytes."""
    with quietly():
        model = convert_to_onnx(
            bundle.load_network(),
            [example(bundle)],
            input_names=["image"],
            output_names=["pred"],
            dynamic_shapes=({0: torch.export.Dim("images")},),
            external_data=False,
            verbose=False,
        )
    # The exporter notes for each node which line of which file on this machine it comes from.
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    identity = {**bundle.identity, "class_names": json.dumps(bundle.class_names)}
    for key, value in sorted(identity.items()):
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def example(bundle: Bundle) -> torch.Tensor:
    """Two images, as one alone would let an exporter take the batch for a constant."""
    return torch.zeros(2, 1, bundle.image_size, bundle.image_size)


@contextmanager
def quietly() -> Iterator[None]:
    """Without two complaints: TorchScript is deprecated (MONAI Label loads it), torchvision is not there."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exporter.setLevel(logging.ERROR)
        try:
            yield
        finally:
            exporter.setLevel(level)
