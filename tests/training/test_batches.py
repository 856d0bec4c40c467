"""Batches on their way through the network: order of the transforms, memory format, precision."""

import pytest
import torch
from monai.transforms import NormalizeIntensity

from covid_monai.training.batches import AutocastInferer, PrepareImageBatch, default_precision


def test_batches_arrive_channels_last_with_labels_untouched():
    batch = {"image": torch.randint(256, (3, 2, 8, 8), dtype=torch.uint8), "label": torch.tensor([0, 1, 2])}
    image, label = PrepareImageBatch([])(batch, "cpu")
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image, batch["image"] / 255)
    assert torch.equal(label, batch["label"])


def test_transforms_are_applied_in_their_order_and_monais_leave_plain_tensors():
    batch = {"image": torch.full((1, 1, 4, 4), 255, dtype=torch.uint8), "label": torch.tensor([0])}
    seen = []

    def note(image):
        seen.append((type(image), image.unique().tolist()))
        return image

    PrepareImageBatch(
        [note, lambda image: image / 2 + 0.25, NormalizeIntensity(subtrahend=0.5, divisor=0.25), note]
    )(batch, "cpu")
    assert seen == [(torch.Tensor, [1.0]), (torch.Tensor, [1.0])]


def test_bf16_computes_in_bf16_and_returns_float32():
    seen = []
    network = torch.nn.Linear(4, 2)
    network.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    logits = AutocastInferer("bf16")(torch.rand(3, 4), network)
    assert seen == [torch.bfloat16]
    assert logits.dtype == torch.float32
    AutocastInferer()(torch.rand(3, 4), network)
    assert seen[-1] == torch.float32
    with pytest.raises(ValueError, match="bf16"):
        AutocastInferer("half")


@pytest.mark.parametrize("computed", [True, False])
def test_emulated_bf16_is_not_the_default(monkeypatch, computed):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: computed)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: computed)
    expected = "bf16" if computed else "fp32"
    assert [default_precision(device) for device in ("cpu", torch.device("cpu"), "cuda:0")] == [expected] * 3
