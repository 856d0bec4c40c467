"""Networks of `unseen_hospitals.py`: how an arm is trained, how networks are joined, and what they score."""

import copy
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import batch_transforms
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import update_bn
from unseen_arms import (
    Arm,
    LungPooling,
    Transform,
    change_lungs,
    compute_loss,
    draw_weights,
    log_probabilities,
    log_shares,
    style,
)
from unseen_folds import BUNDLE, Record

from covid_monai.bundle import Bundle
from covid_monai.networks import build_network, load_pretrained, parameter_groups
from covid_monai.networks.build import classifier_head
from covid_monai.training.augmentation import RandomAffine
from covid_monai.training.dataset import split_normalization

BATCH = 32
WISE = (0.1, 0.2, 0.3)
WEIGHTS = ("average", "last", "average_cold", *(f"wise_{share}" for share in WISE))


def make_network(arm: Arm) -> nn.Module:
    """Build the network with ImageNet weights; even padding moves into the layers, which is faster."""
    network = load_pretrained(
        build_network(arm.network_name, num_classes=3), "imagenet", name=arm.network_name
    )
    for block in network.modules():
        padding = getattr(getattr(block, "_depthwise_conv_padding", None), "padding", None)
        if padding and len(set(padding)) == 1:
            block._depthwise_conv.padding = (padding[0], padding[0])
            block._depthwise_conv_padding = nn.Identity()
    if arm.pool:
        network._avg_pooling = LungPooling()
    return network


def train(
    records: Sequence[Record],
    rows: Sequence[int],
    images: Tensor,
    lungs: Tensor | None,
    arm: Arm,
    *,
    seed: int,
    steps: int,
    teachers: Sequence[nn.Module] = (),
) -> dict[str, nn.Module]:
    """Train one network; return the last weights, two averages, and interpolations with the initial ones.

    With `teachers`, half of the target is the mean of their log probabilities for the same image, unchanged.
    """
    device = images.device
    torch.manual_seed(0 if arm.common_start else seed)
    chosen = [records[row] for row in rows]
    positions = torch.tensor(rows)
    labels = torch.tensor([record["label"] for record in chosen])
    domains = torch.tensor([sorted({r["domain"] for r in records}).index(r["domain"]) for r in chosen])
    shares, weights = log_shares(chosen), draw_weights(chosen, arm.draw)
    network = make_network(arm).to(device, memory_format=torch.channels_last)
    torch.manual_seed(seed)
    taught = ensemble_scores(teachers, images[rows], None, arm).softmax(1) if teachers else None
    initial = copy.deepcopy(network)
    averages = {"warm": copy.deepcopy(network), "cold": copy.deepcopy(network)}
    steps = round(steps * arm.steps)
    optimizer, schedule = _make_optimizer(network, arm, steps)
    transforms = [*style(arm), *_make_transforms(arm)]
    head = {id(parameter) for parameter in classifier_head(network).parameters()}
    drawn = torch.multinomial(weights, steps * BATCH, replacement=True)
    begin = time.monotonic()
    for step in range(steps):
        probing = step < arm.probe * steps
        for parameter in network.parameters():
            parameter.requires_grad_(not probing or id(parameter) in head)
        network.train(not probing)
        batch = drawn[step * BATCH : (step + 1) * BATCH]
        place = positions[batch].to(device)
        pixels = images[place].float() / 255
        masks = None if lungs is None else lungs[place].float() / 255
        pixels, hidden = change_lungs(pixels, masks, domains[batch].to(device), arm)
        pixels, masks = _change(pixels, masks, transforms)
        outputs = _apply(network, pixels, masks)
        loss = compute_loss(outputs, labels[batch].to(device), shares[batch].to(device), hidden, arm)
        if taught is not None:
            loss = (loss + cross_entropy(outputs, taught[batch].to(device))) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        _follow(averages["warm"], network, min(0.998, (1 + step) / (10 + step)))
        _follow(averages["cold"], network, 0.998)
        if step == 49:
            rate = 50 * BATCH / (time.monotonic() - begin)
            print(f"    {rate:.0f} images/s, {(steps - 50) * BATCH / rate / 60:.1f} min left", flush=True)
    found = {"last": network, "average": averages["warm"], "average_cold": averages["cold"]}
    return found | {f"wise_{share}": _between(averages["warm"], initial, share) for share in WISE}


def _make_optimizer(
    network: nn.Module, arm: Arm, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    groups = parameter_groups(
        network, learning_rate=1e-3, backbone_factor=arm.backbone_factor, weight_decay=0.05
    )
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    rates = [group["lr"] for group in groups]
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.3)


def _make_transforms(arm: Arm) -> list[Transform]:
    """Return the random changes of train.yaml, with the normalisation among them."""
    _, normalization = split_normalization(Bundle(BUNDLE).preprocessing)
    return [*batch_transforms(normalization, border_probability=arm.border_probability)]


def _change(
    pixels: Tensor, masks: Tensor | None, transforms: Sequence[Transform]
) -> tuple[Tensor, Tensor | None]:
    """Apply random changes to images `[N, 1, S, S]`, and movements to their lung masks as well."""
    for transform in transforms:
        if masks is not None and isinstance(transform, RandomAffine):
            pixels, masks = transform(torch.cat([pixels, masks], 1)).split(1, dim=1)
        else:
            pixels = torch.as_tensor(transform(pixels))
    return pixels, masks


def _apply(network: nn.Module, pixels: Tensor, lungs: Tensor | None) -> Tensor:
    """Return the outputs `[N, 3]`; a network that pools inside the lungs gets their masks first."""
    if isinstance(network._avg_pooling, LungPooling):
        network._avg_pooling.lungs = lungs
    return network(pixels.contiguous(memory_format=torch.channels_last))


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for old, new in zip(_tensors(average), _tensors(network), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


def _between(network: nn.Module, initial: nn.Module, share: float) -> nn.Module:
    """Return weights between those of a training and, with `share`, the initial ones; the head stays."""
    mixed = copy.deepcopy(network)
    head = {id(tensor) for tensor in classifier_head(mixed).parameters()}
    with torch.no_grad():
        for own, old in zip(_tensors(mixed), _tensors(initial), strict=True):
            if own.is_floating_point() and id(own) not in head:
                own.lerp_(old, share)
    return mixed


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


@torch.no_grad()
def score(network: nn.Module, images: Tensor, lungs: Tensor | None, arm: Arm) -> np.ndarray:
    """Return log probabilities `[N, 3]` of images `[N, 1, S, S]` (uint8), with `lungs` likewise."""
    network.eval()
    _, normalization = split_normalization(Bundle(BUNDLE).preprocessing)
    results = []
    for start in range(0, len(images), 64):
        part = slice(start, start + 64)
        pixels = torch.as_tensor(normalization(images[part].float() / 255))
        outputs = _apply(network, pixels, None if lungs is None else lungs[part].float() / 255)
        results.append(log_probabilities(outputs.float(), arm.heads).cpu())
    return torch.cat(results).numpy()


def ensemble_scores(networks: Sequence[nn.Module], images: Tensor, lungs: Tensor | None, arm: Arm) -> Tensor:
    """Return the mean of the networks' log probabilities `[N, 3]`."""
    return torch.stack([torch.from_numpy(score(network, images, lungs, arm)) for network in networks]).mean(0)


def read_members(folder: Path, fold: str, arm: Arm) -> list[nn.Module]:
    """Return the networks of three seeds that an arm joins."""
    return [read_kept(folder / arm.members / f"{fold}-{seed}.pt", arm) for seed in range(3)]


def read_kept(path: Path, arm: Arm) -> nn.Module:
    """Return a network whose weights `--keep` has written."""
    if not path.is_file():
        name, seed = path.parent.name, path.stem.rpartition("-")[2]
        raise SystemExit(f"{path} is missing: train --arms {name} --seeds {seed} --keep first")
    network = make_network(arm)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def average_weights(networks: Sequence[nn.Module]) -> nn.Module:
    """Return a network with the mean of the weights of others (a "model soup", Wortsman 2022)."""
    mean = copy.deepcopy(networks[0])
    with torch.no_grad():
        for own, *others in zip(_tensors(mean), *map(_tensors, networks[1:]), strict=True):
            if own.is_floating_point():
                own.copy_(torch.stack([own, *others]).mean(0))
    return mean


def make_soup(
    members: Sequence[nn.Module],
    records: Sequence[Record],
    images: Tensor,
    arm: Arm,
    *,
    seed: int,
    batches: int = 60,
) -> nn.Module:
    """Return the mean of networks; `soup_bn` has batch-norm statistics of changed training images."""
    network = average_weights(members)
    if arm.joined == "soup":
        return network
    torch.manual_seed(seed)
    drawn = torch.multinomial(draw_weights(records, arm.draw), batches * BATCH, replacement=True)
    transforms = _make_transforms(arm)
    changed = (_change(images[part].float() / 255, None, transforms)[0] for part in drawn.split(BATCH))
    update_bn((pixels.contiguous(memory_format=torch.channels_last) for pixels in changed), network)
    return network
