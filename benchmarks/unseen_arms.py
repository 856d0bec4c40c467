"""The arms of `unseen_hospitals.py`, fixed before the first run, and the parts that only they need."""

import io
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, cross_entropy, interpolate, logsigmoid
from torch.nn.functional import binary_cross_entropy_with_logits as bce

NORMAL, PNEUMONIA, COVID = 0, 1, 2
Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Arm:
    """Settings of one training.

    Args:
        data: `training` (the training split alone) or `all` (all splits; the test is the domain left out).
        draw: `sources` (classes equally, sources by the square root of their images, as 0.1.0 does),
            `adults` (classes equally, 70 % of normals and pneumonias from adults, sources as before).
        border_probability: Of collimation strips and of letters, see train.yaml.
        backbone_factor: Learning rate of the backbone divided by that of the head.
        probe: Share of the steps in which only the head learns (linear probe, then fine-tuning).
        heads: `softmax`, or `two`: abnormal, and covid given abnormal with weight 0.5.
        offset: Factor of log p(class | source), which is added to the logits of the training.
        fourier: Probability that an image gets the low-frequency amplitudes of another one.
        randconv: Probability that an image is filtered by a random kernel.
        resolution: Probability that an image is shown at 48 to 96 pixels.
        jpeg: Probability that an image is compressed as JPEG.
        swap: Probability that an image's lungs are shown on the surround of another domain's image.
        hide: Probability that an image's lungs are hidden, with the uniform distribution as its target.
        pool: Whether features are averaged inside the lungs only.
        image_size: Rows and columns.
        network_name: Name of `build_network`.
        steps: Number of steps as a multiple of `--steps`.
        common_start: Whether all seeds start with the same random head: their weights can be averaged.
        members: Another arm, whose seeds 0 to 2 this arm needs, finished and kept.
        joined: How those become one answer: `soup` (mean of the weights, nothing is trained), `soup_bn` (the
            same with batch-norm statistics of new training batches), `ensemble` (mean of the log
            probabilities), or `distilled` (a training with that mean as half of the target).
    """

    data: str = "all"
    draw: str = "adults"
    border_probability: float = 0.0
    backbone_factor: float = 1.0
    probe: float = 0.0
    heads: str = "softmax"
    offset: float = 0.0
    fourier: float = 0.0
    randconv: float = 0.0
    resolution: float = 0.0
    jpeg: float = 0.0
    swap: float = 0.0
    hide: float = 0.0
    pool: bool = False
    image_size: int = 96
    network_name: str = "efficientnet_lite0"
    steps: float = 1.0
    common_start: bool = False
    members: str = ""
    joined: str = ""

    @property
    def needs_lungs(self) -> bool:
        """Whether the arm needs lung masks."""
        return bool(self.swap or self.hide or self.pool)


_BASE = Arm()
ARMS: Mapping[str, Arm] = {
    "recipe_0_1_0": Arm("training", "sources", 0.3, 0.3),
    # 1 and 2. What the trial changed, one change taken back at a time; `adults` is arm 2.
    "base": _BASE,
    "base_borders": replace(_BASE, border_probability=0.3),
    "base_slow_backbone": replace(_BASE, backbone_factor=0.3),
    "base_draw_sources": replace(_BASE, draw="sources"),
    "base_training_split": replace(_BASE, data="training"),
    # 3. Interpolated weights (WiSE-FT) are scored after every training; here with a linear probe before it.
    "probe": replace(_BASE, probe=0.25),
    # 4. Two levels, and the share of the classes in each source as an offset.
    "two_heads": replace(_BASE, heads="two"),
    "offset_05": replace(_BASE, offset=0.5),
    "offset_1": replace(_BASE, offset=1.0),
    "two_heads_offset_05": replace(_BASE, heads="two", offset=0.5),
    "two_heads_offset_1": replace(_BASE, heads="two", offset=1.0),
    # 5. Lungs, with the soft masks of the lung bundle.
    "swap": replace(_BASE, swap=0.3),
    "hide": replace(_BASE, hide=0.1),
    "pool": replace(_BASE, pool=True),
    # 6. Style.
    "fourier": replace(_BASE, fourier=0.5),
    "randconv": replace(_BASE, randconv=0.3),
    "resolution": replace(_BASE, resolution=0.5),
    "jpeg": replace(_BASE, jpeg=0.5),
    # 7. Sizes; a longer training.
    "size_128": replace(_BASE, image_size=128),
    "size_160": replace(_BASE, image_size=160),
    "long": replace(_BASE, steps=3.0),
    # 8. Three seeds as one network.
    "member": replace(_BASE, data="training", common_start=True),
    "soup": replace(_BASE, data="training", common_start=True, members="member", joined="soup"),
    "soup_bn": replace(_BASE, data="training", common_start=True, members="member", joined="soup_bn"),
    "ensemble": replace(_BASE, data="training", common_start=True, members="member", joined="ensemble"),
    "distilled": replace(_BASE, data="training", common_start=True, members="member", joined="distilled"),
}


def draw_weights(records: Sequence[Mapping[str, Any]], draw: str) -> Tensor:
    """Return the probability of drawing each record, see `Arm.draw`."""
    cells = [(record["label"], _part(record, draw), record["domain"]) for record in records]
    counts = Counter(cells)
    share = {cell: math.sqrt(count) for cell, count in counts.items()}
    labels = sorted({cell[0] for cell in cells})
    weights = []
    for cell in cells:
        label, part, _ = cell
        parts = sorted({other[1] for other in counts if other[0] == label})
        of_part = 1.0 if len(parts) == 1 else (0.7 if part == "adult" else 0.3)
        total = sum(share[other] for other in counts if other[:2] == (label, part))
        weights.append(of_part * share[cell] / total / counts[cell] / len(labels))
    return torch.tensor(weights, dtype=torch.float64)


def _part(record: Mapping[str, Any], draw: str) -> str:
    return "" if draw == "sources" or record["label"] == COVID else "adult" if record["adult"] else "child"


def log_shares(records: Sequence[Mapping[str, Any]]) -> Tensor:
    """Return log p(class | domain) `[N, 3]` of each record, with one image added to each class."""
    counts = Counter((record["domain"], record["label"]) for record in records)
    shares = {}
    for domain in {record["domain"] for record in records}:
        found = torch.tensor([counts[domain, label] + 1.0 for label in range(3)])
        shares[domain] = (found / found.sum()).log()
    return torch.stack([shares[record["domain"]] for record in records])


def log_probabilities(outputs: Tensor, heads: str) -> Tensor:
    """Return log probabilities `[N, 3]` of the network's outputs `[N, 3]`."""
    if heads == "softmax":
        return outputs.log_softmax(1)
    abnormal, covid = outputs[:, 0], outputs[:, 1]
    sick = logsigmoid(abnormal)
    return torch.stack([logsigmoid(-abnormal), sick + logsigmoid(-covid), sick + logsigmoid(covid)], 1)


def compute_loss(outputs: Tensor, labels: Tensor, shares: Tensor, hidden: Tensor, arm: Arm) -> Tensor:
    """Return the mean loss of a batch, with `shares` from `log_shares`.

    The images `hidden` [N] have the uniform distribution as their target.
    """
    shift = arm.offset * shares
    if arm.heads == "softmax":
        losses = cross_entropy(outputs + shift, labels, label_smoothing=0.05, reduction="none")
        uniform = -outputs.log_softmax(1).mean(1)
        return torch.where(hidden, uniform, losses).mean()
    sick, covid = (labels != NORMAL).float(), (labels == COVID).float()
    to_sick = torch.logsumexp(shift[:, 1:], 1) - shift[:, 0]
    to_covid = shift[:, COVID] - shift[:, PNEUMONIA]
    first = bce(outputs[:, 0] + to_sick, sick * 0.95 + 0.025, reduction="none")
    second = bce(outputs[:, 1] + to_covid, covid * 0.95 + 0.025, reduction="none") * sick
    return (first + 0.5 * second).mean()


def change_lungs(images: Tensor, lungs: Tensor | None, domains: Tensor, arm: Arm) -> tuple[Tensor, Tensor]:
    """Put lungs on another domain's surround, and hide lungs; return images and which are hidden `[N]`."""
    count, device = len(images), images.device
    hidden = torch.zeros(count, dtype=torch.bool, device=device)
    if lungs is None:
        return images, hidden
    other = torch.randperm(count, device=device)
    swapped = (torch.rand(count, device=device) < arm.swap) & (domains != domains[other])
    images = torch.where(swapped[:, None, None, None], images[other].lerp(images, lungs), images)
    hidden = torch.rand(count, device=device) < arm.hide
    # What stays inside is the brightness of the image's surround, without a shape.
    level = (images * (1 - lungs)).sum((1, 2, 3), True) / (1 - lungs).sum((1, 2, 3), True).clamp_min(1)
    return torch.where(
        hidden[:, None, None, None], images.lerp(level.expand_as(images), lungs), images
    ), hidden


class LungPooling(nn.Module):
    """Average features inside the lungs; the surround counts a twentieth, so that no image has no features.

    `lungs` `[N, 1, H, W]` of the next batch is set before the network is called.
    """

    lungs: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Return `[N, C, 1, 1]` of features `[N, C, h, w]`."""
        weights = adaptive_avg_pool2d(self.lungs, features.shape[-2:]) + 0.05
        return (features * weights).sum((2, 3), True) / weights.sum((2, 3), True)


def style(arm: Arm) -> list[Transform]:
    """Return the transforms of images in [0, 1] that the arm adds before the normalisation."""
    steps: list[tuple[float, Transform]] = [
        (arm.fourier, swap_low_amplitudes),
        (arm.randconv, filter_at_random),
        (arm.resolution, lose_resolution),
        (arm.jpeg, compress),
    ]
    return [_sometimes(change, probability) for probability, change in steps if probability]


def _sometimes(change: Transform, probability: float) -> Transform:
    def changed(images: Tensor) -> Tensor:
        drawn = torch.rand(len(images), device=images.device) < probability
        if drawn.any():
            images = images.clone()
            images[drawn] = change(images[drawn])
        return images

    return changed


def swap_low_amplitudes(images: Tensor, beta: float = 0.06) -> Tensor:
    """Mix the low-frequency amplitudes of images with those of others (Yang and Soatto 2020, Xu 2021)."""
    spectra = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
    amplitude, phase = spectra.abs(), spectra.angle()
    side, reach = images.shape[-1], max(1, int(beta * images.shape[-1]))
    low = slice(side // 2 - reach, side // 2 + reach + 1)
    other = amplitude[torch.randperm(len(images), device=images.device)][..., low, low]
    share = torch.rand(len(images), 1, 1, 1, device=images.device)
    amplitude[..., low, low] = amplitude[..., low, low].lerp(other, share)
    mixed = torch.polar(amplitude, phase)
    return torch.fft.ifft2(torch.fft.ifftshift(mixed, dim=(-2, -1))).real.clamp(0, 1)


def filter_at_random(images: Tensor) -> Tensor:
    """Mix images with their convolution by a random kernel (RandConv, Xu 2021), at their own contrast."""
    size = int(torch.randint(0, 4, ())) * 2 + 1
    kernel = torch.randn(1, 1, size, size, device=images.device) / size
    filtered = conv2d(images, kernel, padding=size // 2)
    low, high = filtered.amin((1, 2, 3), True), filtered.amax((1, 2, 3), True)
    filtered = (filtered - low) / (high - low).clamp_min(1e-6)
    return images.lerp(filtered, torch.rand(len(images), 1, 1, 1, device=images.device))


def lose_resolution(images: Tensor) -> Tensor:
    """Show images at 48 to 96 pixels; a batch shares one size."""
    side, least = images.shape[-1], int(torch.randint(48, 97, ()))
    small = interpolate(images, size=(least, least), mode="area")
    return interpolate(small, size=(side, side), mode="bilinear")


def compress(images: Tensor) -> Tensor:
    """Compress images as JPEG of quality 15 to 70."""
    changed = []
    for image in (images[:, 0] * 255).round().to(torch.uint8).cpu().numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(torch.randint(15, 71, ())))
        changed.append(np.asarray(Image.open(buffer)).copy())
    return torch.from_numpy(np.stack(changed))[:, None].to(images.device).float() / 255
