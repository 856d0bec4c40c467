"""Images of `unseen_hospitals.py`: which domain each belongs to, and what a fold trains and tests on."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.exposure import equalize_adapthist
from skimage.filters import unsharp_mask
from torch import Tensor
from torch.nn.functional import interpolate
from unseen_arms import COVID, NORMAL, PNEUMONIA, Arm, compress

from covid_monai.bundle import Bundle
from covid_monai.datasets.datalist import Datalist
from covid_monai.lungs import LungSegmenter
from covid_monai.training.dataset import RadiographDataset, split_normalization
from covid_monai.transforms import PercentileRescale

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "covid_cxr_classification"
FOLDS = ("kermany", "ieee8023", "nih", "covid-cxnet")  # with covid-cxnet, the hospital is left out as well
HOSPITAL = "Hannover"
HELD_NIH = 0.25  # of NIH's patients, never in a training: their normals set the cut of the secondary measures
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
