"""Arms of the training recipe, each measured on domains (hospitals, collections) that it has not seen.

    python benchmarks/unseen_hospitals.py train --datalist merged.json --output runs/unseen --seeds 0
    python benchmarks/unseen_hospitals.py table --datalist merged.json --output runs/unseen

Every arm trains once per left-out domain and seed, on a CPU or with CUDA. A finished run is not repeated, and
several processes with the same `--output` share the work: on a CPU start one per core, each with
`OMP_NUM_THREADS=1`. `table` compares what is there with the arm `recipe_0_1_0`. `unseen_sources --arms soup`
writes the file of that name for a bundle with weights that were made in the same way.

The arms (`unseen_arms.py`) and the measures were fixed before the first run, see docs/experiments.md.
"""

import argparse
import copy
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import batch_transforms
from skimage.exposure import equalize_adapthist
from skimage.filters import unsharp_mask
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.optim.swa_utils import update_bn
from unseen_arms import (
    ARMS,
    COVID,
    NORMAL,
    PNEUMONIA,
    Arm,
    LungPooling,
    change_lungs,
    compress,
    compute_loss,
    draw_weights,
    log_probabilities,
    log_shares,
    style,
)

from covid_monai.bundle import Bundle
from covid_monai.datasets.datalist import Datalist, read_datalist
from covid_monai.evaluation.decisions.calibration import Calibration, fit_calibration
from covid_monai.evaluation.decisions.unseen_sources import fit_unseen_sources
from covid_monai.evaluation.metrics.left_out_domains import compare_arms
from covid_monai.evaluation.metrics.prediction_table import write_predictions
from covid_monai.lungs import LungSegmenter
from covid_monai.networks import build_network, load_pretrained, parameter_groups
from covid_monai.networks.build import classifier_head
from covid_monai.training.augmentation import RandomAffine
from covid_monai.training.dataset import RadiographDataset, split_normalization
from covid_monai.transforms import PercentileRescale

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "covid_cxr_classification"
FOLDS = ("kermany", "ieee8023", "nih", "covid-cxnet")  # with covid-cxnet, the hospital is left out as well
HOSPITAL = "Hannover"
# The classes of the AUROC within each domain: of the lower and of the higher score.
CONTRASTS = {"kermany": (NORMAL, PNEUMONIA), "ieee8023": (PNEUMONIA, COVID), "nih": (NORMAL, PNEUMONIA)}
BATCH = 32
HELD_NIH = 0.25  # of NIH's patients, never in a training: their normals set the cut of the secondary measures
WISE = (0.1, 0.2, 0.3)
WEIGHTS = ("average", "last", "average_cold", *(f"wise_{share}" for share in WISE))
Record = dict[str, Any]


def gather(datalist: Datalist) -> list[Record]:
    """Return the records of all splits with `domain`, `adult`, `held` and `split`."""
    records = []
    for split in datalist.splits:
        for record in datalist.records(split):
            domain, label = record["source"], record["label"]
            if domain == "darkcovidnet" and label != COVID:
                domain = "nih"
            child = domain == "kermany" or (domain == "covid19-image-dataset" and label != COVID)
            if child:
                domain = "kermany"  # both are of the same hospital
            if HOSPITAL in str(record.get("hospital", "")):
                domain = "hospital"
            age = record.get("age")
            adult = not child and not (isinstance(age, int | float) and age < 18)
            held = domain == "nih" and _share(record["patient"]) < HELD_NIH
            records.append({**record, "split": split, "domain": domain, "adult": adult, "held": held})
    return sorted(records, key=lambda record: str(record["image"]))


def _share(name: str) -> float:
    """Return a number in [0, 1) that depends on the name alone."""
    return np.random.default_rng(list(name.encode())).random()


def split_fold(records: Sequence[Record], fold: str, arm: Arm) -> tuple[list[int], list[int]]:
    """Return the rows of the training and of the test: the domain left out, and the held NIH patients.

    Images of a patient or of a copy that is left out are in neither.
    """
    left_out = {"covid-cxnet", "hospital"} if fold == "covid-cxnet" else {fold}
    out = [record["domain"] in left_out for record in records]
    if fold == "covid-cxnet":  # less its copies
        elsewhere = {record.get("group") for record in records if record["domain"] not in left_out} - {None}
        out = [
            is_out and record.get("group") not in elsewhere
            for is_out, record in zip(out, records, strict=True)
        ]
    test = [row for row, record in enumerate(records) if out[row] or (record["held"] and fold != "nih")]
    if fold == "kermany":
        test = _thin(records, test)
    patients = {records[row]["patient"] for row in test}
    groups = {records[row].get("group") for row in test} - {None}
    train = [
        row
        for row, record in enumerate(records)
        if record["domain"] not in left_out - {"covid-cxnet"}
        and not out[row]
        and not record["held"]
        and record["patient"] not in patients
        and record.get("group") not in groups
        and (arm.data == "all" or record["split"] == "training")
    ]
    return train, test


def _thin(records: Sequence[Record], test: Sequence[int]) -> list[int]:
    """Return the held NIH images, and one image of each of 600 Kermany patients of each class."""
    first: dict[tuple[int, str], int] = {}
    for row in test:
        if records[row]["domain"] == "kermany":
            first.setdefault((records[row]["label"], records[row]["patient"]), row)
    drawn = sorted(first, key=lambda key: _share(key[1]))
    chosen = [
        first[key] for label in (NORMAL, PNEUMONIA) for key in [k for k in drawn if k[0] == label][:600]
    ]
    return sorted([*chosen, *(row for row in test if records[row]["domain"] != "kermany")])


def load_images(records: Sequence[Record], size: int, cache: Path, device: torch.device) -> Tensor:
    """Return all images `[N, 1, size, size]` as uint8, decoded once by the bundle's preprocessing."""
    bundle = Bundle(BUNDLE, image_size=size)
    decoding, _ = split_normalization(bundle.preprocessing)
    dataset = RadiographDataset(
        records, decoding, image_size=size, cache="disk", cache_dir=cache / bundle.preprocessing_digest[:16]
    )
    return torch.cat(
        [dataset.__getitems__(rows.tolist())["image"] for rows in np.array_split(np.arange(len(records)), 50)]
    ).to(device)


def find_lungs(images: Tensor, file: Path | None = None) -> Tensor:
    """Return soft lung masks `[N, 1, S, S]` (uint8) of images of the same form, kept in `file`."""
    if file and file.is_file():
        return torch.load(file, weights_only=True).to(images.device)
    segment = LungSegmenter()
    masks = [torch.from_numpy(segment(image.cpu())) for image in images[:, 0]]
    found = (torch.stack(masks)[:, None] * 255).round().to(torch.uint8)
    if file:
        temporary = file.with_suffix(f".{os.getpid()}")
        torch.save(found, temporary)
        temporary.replace(file)
    return found.to(images.device)


def render(images: Tensor) -> dict[str, Tensor]:
    """Return images `[N, 1, S, S]` (uint8) as four other display pipelines would show them."""
    values = images[:, 0].cpu().numpy() / 255.0
    crop = round(0.08 * values.shape[-1])
    changed = {
        "clahe": np.stack([equalize_adapthist(image, clip_limit=0.03) for image in values]),
        "unsharp": np.stack([unsharp_mask(image, radius=3, amount=2) for image in values]),
        "crop": values[:, crop:-crop, crop:-crop],
        "jpeg": compress(torch.from_numpy(values[:, None]).float())[:, 0].numpy(),
    }
    rescale, results = PercentileRescale(lower=1.0, upper=99.0), {}
    for name, pixels in changed.items():
        batch = interpolate(torch.from_numpy(pixels[:, None]).float(), size=images.shape[-2:], mode="area")
        shown = torch.stack([torch.as_tensor(rescale(image)) for image in batch])
        results[name] = (shown * 255).round().to(torch.uint8).to(images.device)
    return results


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
    groups = parameter_groups(
        network, learning_rate=1e-3, backbone_factor=arm.backbone_factor, weight_decay=0.05
    )
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    steps = round(steps * arm.steps)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [group["lr"] for group in groups], total_steps=steps, pct_start=0.3
    )
    _, normalization = split_normalization(Bundle(BUNDLE).preprocessing)
    transforms = [
        *style(arm),
        *batch_transforms(normalization, border_probability=arm.border_probability),
    ]
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
        for transform in transforms:
            if masks is not None and isinstance(transform, RandomAffine):  # lungs move with the image
                pixels, masks = transform(torch.cat([pixels, masks], 1)).split(1, dim=1)
            else:
                pixels = torch.as_tensor(transform(pixels))
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
    _, normalization = split_normalization(Bundle(BUNDLE).preprocessing)
    transforms = batch_transforms(normalization, border_probability=arm.border_probability)

    def changed(part: Tensor) -> Tensor:
        pixels = images[part].float() / 255
        for transform in transforms:
            pixels = torch.as_tensor(transform(pixels))
        return pixels.contiguous(memory_format=torch.channels_last)

    update_bn(map(changed, drawn.split(BATCH)), network)
    return network


def run(
    records: Sequence[Record],
    fold: str,
    arm: Arm,
    images: Tensor,
    lungs: Tensor | None,
    *,
    seed: int,
    steps: int,
    weights: Sequence[str],
    path: Path,
    keep: bool,
) -> None:
    """Train one fold, score it with each kind of `weights`, and write the log probabilities."""
    rows, test = split_fold(records, fold, arm)
    members = read_members(path.parents[1], fold, arm) if arm.members else []
    networks: dict[str, Sequence[nn.Module]]
    if arm.joined == "ensemble":
        networks = {"average": members}
    elif arm.joined.startswith("soup"):
        chosen = [records[row] for row in rows]
        networks = {"average": [make_soup(members, chosen, images[rows], arm, seed=seed)]}
    else:
        made = train(records, rows, images, lungs, arm, seed=seed, steps=steps, teachers=members)
        networks = {name: [made[name]] for name in weights}
    if keep:
        torch.save(networks["average"][0].state_dict(), path.with_suffix(".pt"))
    shown = {"": (images[test], None if lungs is None else lungs[test])}
    if fold == "nih":
        frontal = [
            row for row in test if records[row]["label"] == NORMAL and records[row].get("view") == "PA"
        ]
        for pipeline, pixels in render(images[frontal]).items():
            masks = find_lungs(pixels) if arm.pool else None
            shown[f"/{pipeline}"] = (pixels, masks)
    results: dict[str, Any] = {"images": np.array([str(records[row]["image"]) for row in test])}
    for pipeline, (pixels, masks) in shown.items():
        for name, joined in networks.items():
            results[f"{name}{pipeline}"] = ensemble_scores(joined, pixels, masks, arm).numpy()
    temporary = path.with_suffix(".part.npz")
    np.savez_compressed(temporary, **results)
    temporary.replace(path)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Yield whether this process alone works on a file; a claim ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield not path.exists()


def train_all(options: argparse.Namespace) -> None:
    """Train what is missing, seed by seed and arm by arm."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    datalist = read_datalist(options.datalist)
    records, held = gather(datalist), {}
    for seed in options.seeds:
        for name in options.arms:
            arm = ARMS[name]
            if arm.image_size not in held:
                held = {
                    arm.image_size: load_images(records, arm.image_size, options.output / "cache", device)
                }
            masks = options.output / "cache" / f"lungs-{datalist.digest[:16]}-{arm.image_size}.pt"
            (options.output / name).mkdir(parents=True, exist_ok=True)
            (options.output / name / "arm.json").write_text(json.dumps(asdict(arm), indent=2))
            for fold in options.folds:
                path = options.output / name / f"{fold}-{seed}.npz"
                with claimed(path) as mine:
                    if mine:
                        print(f"{time.strftime('%H:%M:%S')} {name}, without {fold}, seed {seed}", flush=True)
                        images = held[arm.image_size]
                        lungs = find_lungs(images, masks) if arm.needs_lungs else None
                        run(
                            records,
                            fold,
                            arm,
                            images,
                            lungs,
                            seed=seed,
                            steps=options.steps,
                            weights=options.weights,
                            path=path,
                            keep=options.keep,
                        )


def read_runs(folder: Path, records: Sequence[Record], kind: str) -> dict[str, Any]:
    """Return the scores of one arm and one kind of weights on each domain left out, over its seeds.

    Returns:
        `primary`: the arm of `left_out_domains` with the domains that are complete; `secondary`: means over
        the seeds; `seeds`: number of seeds that all folds have.
    """
    by_image = {str(record["image"]): record for record in records}
    seeds = [seed for seed in range(10) if all((folder / f"{fold}-{seed}.npz").is_file() for fold in FOLDS)]
    primary: dict[str, Any] = {}
    secondary: list[dict[str, float]] = []
    measured: dict[str, float]
    for seed in seeds:
        measured = {}
        for fold in FOLDS:
            with np.load(folder / f"{fold}-{seed}.npz") as run:
                rows = [by_image[image] for image in run["images"]]
                scores = run[kind]
                if fold in CONTRASTS:
                    _add(primary, fold, rows, scores)
                measured |= _secondary(fold, rows, scores, run, kind)
        secondary.append(measured)
    means = {key: float(np.mean([each[key] for each in secondary])) for key in secondary[0]} if seeds else {}
    return {"primary": primary, "secondary": means, "seeds": len(seeds)}


def _add(primary: dict[str, Any], fold: str, rows: Sequence[Record], scores: np.ndarray) -> None:
    below, above = CONTRASTS[fold]
    chosen = [
        number for number, row in enumerate(rows) if row["domain"] == fold and row["label"] in (below, above)
    ]
    labels = [int(rows[number]["label"] == above) for number in chosen]
    patients = [rows[number]["patient"] for number in chosen]
    values = (scores[:, above] - scores[:, below])[chosen]
    _, held, _ = primary.get(fold, (labels, [], patients))
    primary[fold] = (labels, [*held, values], patients)


def _secondary(
    fold: str, rows: Sequence[Record], scores: np.ndarray, run: Mapping[str, np.ndarray], kind: str
) -> dict[str, float]:
    """Return sensitivities and false alarm rates at the cut that calls 5 % of NIH normals covid."""
    odds = scores[:, COVID] - scores[:, NORMAL]
    normal = np.array([row["label"] == NORMAL and row["domain"] == "nih" for row in rows])
    frontal = np.array([row.get("view") == "PA" for row in rows])
    if fold == "nih":
        cut = np.quantile(odds[normal & frontal], 0.95)
        alarms = {"AP": (odds[normal & ~frontal] > cut).mean()}
        for key in run:
            if key.startswith(f"{kind}/"):
                shown = run[key][:, COVID] - run[key][:, NORMAL]
                alarms[key.split("/")[1]] = (shown > cut).mean()
        return {f"alarms_{name}": float(rate) for name, rate in alarms.items()} | {
            "worst_alarms": float(max(alarms.values()))
        }
    if fold != "covid-cxnet":
        return {}
    cut = np.quantile(odds[normal], 0.95)
    cases = {
        domain: np.array([row["domain"] == domain and row["label"] == COVID for row in rows])
        for domain in ("covid-cxnet", "hospital")
    }
    return {f"sensitivity_{domain}": float((odds[chosen] > cut).mean()) for domain, chosen in cases.items()}


def print_table(options: argparse.Namespace) -> None:
    """Print the arms as a Markdown table, each compared with the recipe of 0.1.0, and write `table.json`."""
    records = gather(read_datalist(options.datalist))
    recipe = read_runs(options.output / options.against, records, "average")
    lines = [
        "| arm, weights | seeds | primary | gain over the recipe | Kermany | ieee8023 | NIH "
        "| sensitivity covid-cxnet | sensitivity hospital | worst false alarms | adopt |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    results = {}
    for name in options.arms:
        for kind in options.weights:
            arm = read_runs(options.output / name, records, kind)
            if not arm["seeds"]:
                continue
            found = compare_arms(recipe["primary"], arm["primary"])
            results[f"{name}, {kind}"] = found | {"secondary": arm["secondary"]}
            gain, second, extra = found["gain"], found["second"], arm["secondary"]
            areas = " | ".join(f"{second['domains'][domain]['auroc']:.3f}" for domain in CONTRASTS)
            ends = "" if gain["low"] is None else f" ({gain['low']:.2f} to {gain['high']:.2f})"
            lines.append(
                f"| {name}, {kind} | {arm['seeds']} | {second['primary']:.2f} "
                f"| {gain['value']:.2f}{ends} | {areas} "
                f"| {extra['sensitivity_covid-cxnet']:.2f} | {extra['sensitivity_hospital']:.2f} "
                f"| {extra['worst_alarms']:.2f} | {'yes' if found['adopt'] else 'no'} |"
            )
    print("\n".join(lines))
    (options.output / "table.json").write_text(json.dumps(results, indent=2))


def save_unseen_sources(options: argparse.Namespace) -> None:
    """Write `unseen_sources.json` for a bundle that was made like the one arm of `--arms`, which was kept.

    Each domain is predicted by the network that was trained without it, calibrated on validation images of
    the other domains. `FOLD.csv` has these predictions, and those of COVID-19 test images of other domains.
    """
    datalist, (name,) = read_datalist(options.datalist), options.arms
    records, arm = gather(datalist), ARMS[name]
    images = load_images(records, arm.image_size, options.output / "cache", torch.device("cpu"))
    parts: list[tuple[Any, ...]] = []
    for fold in FOLDS:
        own = {"covid-cxnet", "hospital"} if fold == "covid-cxnet" else {fold}
        network = read_kept(options.output / name / f"{fold}-{options.seeds[0]}.pt", arm)
        calibration = _calibrate(network, records, images, own, datalist.class_names)
        threshold = 1 - calibration.conformal[datalist.class_names[NORMAL]]
        print(f"without {fold}: temperature {calibration.temperature:.2f}, abnormal above {threshold:.3f}")
        _, out = split_fold(records, fold, arm)
        out = [row for row in out if records[row]["domain"] in own]
        cases = {
            row
            for row, record in enumerate(records)
            if record["split"] == "test" and record["label"] == COVID and record["domain"] not in own
        }
        rows = sorted({*out, *cases})
        chances = calibration.apply(np.exp(score(network, images[rows], None, arm)))
        write_predictions(
            options.output / name / f"{fold}.csv",
            [
                {**records[row], "split": "test", "probabilities": each}
                for row, each in zip(rows, chances, strict=True)
            ],
            datalist.class_names,
        )
        found = dict(zip(rows, chances, strict=True))
        parts += [
            (records[row]["label"], found[row], records[row]["patient"], records[row]["domain"], threshold)
            for row in out
        ]
    labels, probabilities, patients, sources, thresholds = map(np.array, zip(*parts, strict=True))
    unseen = fit_unseen_sources(
        labels, probabilities, patients, sources, datalist.class_names, abnormal_threshold=thresholds
    )
    unseen.save(options.output / name / "unseen_sources.json")
    print(json.dumps(asdict(unseen), indent=2))


def _calibrate(
    network: nn.Module,
    records: Sequence[Record],
    images: Tensor,
    left_out: set[str],
    class_names: Sequence[str],
) -> Calibration:
    """Fit the calibration of a fold on the validation images of the domains that are not left out."""
    rows = [
        row
        for row, record in enumerate(records)
        if record["split"] == "validation" and record["domain"] not in left_out
    ]
    chosen = [records[row] for row in rows]
    return fit_calibration(
        np.array([record["label"] for record in chosen]),
        np.exp(score(network, images[rows], None, ARMS["member"])),
        class_names=class_names,
        patients=[record["patient"] for record in chosen],
        sources=[record["source"] for record in chosen],
        chosen_on={"split": "validation", "n": len(chosen)},
    )


def main() -> None:
    """Train, print the table, or write the cuts for hospitals that a training has not seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("train", "table", "unseen_sources"))
    parser.add_argument("--datalist", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--steps", type=int, default=300, help="of 32 images; an arm may have a multiple")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folds", nargs="+", choices=FOLDS, default=FOLDS)
    parser.add_argument(
        "--weights", nargs="+", choices=WEIGHTS, default=["average"], help="kinds that are scored or compared"
    )
    parser.add_argument("--keep", action="store_true", help="keep the averaged weights beside the scores")
    parser.add_argument("--against", default="recipe_0_1_0", help="arm that the table compares with")
    options = parser.parse_args()
    tasks = {"train": train_all, "table": print_table, "unseen_sources": save_unseen_sources}
    tasks[options.task](options)


if __name__ == "__main__":
    main()
