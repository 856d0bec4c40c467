"""Images of one hospital as the network sees them: one per patient and class."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covid_monai.adaptation.head import Head
from covid_monai.core.errors import without_file_name
from covid_monai.core.number_format import format_count
from covid_monai.core.parallel import map_in_threads
from covid_monai.datasets.collections.base import Excluded, Record
from covid_monai.datasets.datalist import is_child, read_datalist
from covid_monai.datasets.prepare import open_image
from covid_monai.inference.classifier import Classifier
from covid_monai.networks.build import classifier_head
from covid_monai.readers.image_files import find_image_files

logger = logging.getLogger(__name__)
_BATCH = 16
UNKNOWN = -1  # label of an image without one
Item = dict[str, Any]


@dataclass(frozen=True)
class SiteImages:
    """Images of one hospital, one per patient and class.

    Args:
        labels: Shape [N], class indices of the bundle; `UNKNOWN` where there is no label.
        patients: Shape [N].
        features: Shape [N, F], input of the last layer.
        left_out: Reason to number of images that are not used.
        notes: Sentences about the images, for the reader.
    """

    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    features: NDArray[np.float32]
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, rows: NDArray[np.bool_]) -> "SiteImages":
        """Return the images of a mask [N]."""
        chosen = {name: getattr(self, name)[rows] for name in ("labels", "patients", "features")}
        return replace(self, **chosen)


def read_labelled(path: Path, class_names: Sequence[str]) -> tuple[list[Item], list[str]]:
    """Return the training and validation records of a datalist, with the bundle's labels, and notes.

    The test split is left to `covid-monai evaluate`.

    Raises:
        ValueError: If the datalist has a class that the bundle does not have.
    """
    datalist = read_datalist(path)
    unknown = [name for name in datalist.class_names if name not in class_names]
    if unknown:
        raise ValueError(
            f"{path} has the class {unknown[0]}, which the bundle does not have. Prepare the datalist with "
            f"--classes {','.join(class_names)}, or a part of these."
        )
    items = []
    for split in ("training", "validation"):
        for item in datalist.records(split) if datalist.splits[split] else []:
            label = class_names.index(datalist.class_names[item["label"]])
            items.append({**item, "label": label})
    if not items:
        raise ValueError(f"{path} has no images for training or validation. Prepare it again.")
    tested = len(datalist.splits["test"])
    notes = [f"{tested:,} images of the test split are left for covid-monai evaluate."] if tested else []
    return items, notes


def read_folder(folder: Path, label: int) -> tuple[list[Item], list[str]]:
    """Return a record of each image in a folder with one label for all; a DICOM header has the patient.

    Raises:
        ValueError: If no file of the folder can be used.
    """
    files = find_image_files([folder]).files
    if not files:
        raise ValueError(f"No image found in {folder}. Name a folder with DICOM, JPEG or PNG files.")
    opened = map_in_threads(
        lambda path: open_image(Record(path, "")), files, "opening files", total=len(files)
    )
    found, unusable = [], []
    for record in opened:
        if isinstance(record, Excluded):
            unusable.append(record)
            logger.warning("%s is not used: %s", record.image, record.reason)
        else:
            found.append(record)
    if not found:
        count = format_count(len(files), "image")
        raise ValueError(f"{count} in {folder}, and none can be used: see above. Give radiographs of adults.")
    items = [
        {"image": str(r.image), "patient": r.patient or str(r.image), "age": r.age, "label": label}
        for r in found
    ]
    notes = [f"{format_count(len(unusable), 'file')} cannot be used."] if unusable else []
    return items, notes


def score_images(items: Iterable[Item], classifier: Classifier, notes: Sequence[str] = ()) -> SiteImages:
    """Read the images of adults as a prediction does, one per patient and class, and compute their features.

    Args:
        items: Records with `image`, `label`, `patient` and, where known, `age`.
        classifier: Classifier with the backend torch.
        notes: Sentences about the images, for the reader.

    Raises:
        ValueError: If no image can be used.
    """
    wanted, left_out = _choose(items)
    read = map_in_threads(
        lambda item: classifier.read(item["image"]), wanted, "reading images", total=len(wanted)
    )
    kept, pixels = [], []
    for item, found in zip(wanted, read, strict=True):
        if isinstance(found, np.ndarray):
            kept.append(item)
            pixels.append(found)
        else:
            left_out["refused or unreadable"] += 1
            logger.warning("%s is not used: %s", found.file, without_file_name(str(found.detail), found.file))
    if not kept:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise ValueError(f"None of the images can be used: {reasons}. Give radiographs of adults.")
    network = classifier.bundle.load_network(classifier.device)
    return SiteImages(
        labels=np.array([item["label"] for item in kept]),
        patients=np.array([str(item["patient"]) for item in kept]),
        features=_compute(network, np.stack(pixels), classifier.device),
        left_out=dict(left_out),
        notes=(*notes, *_doubts(kept)),
    )


def _choose(items: Iterable[Item]) -> tuple[list[Item], Counter[str]]:
    """Return the first image of each adult and class, and why how many others are left out."""
    left_out: Counter[str] = Counter()
    chosen: dict[tuple[str, int], Item] = {}
    for item in items:
        if is_child(item):
            left_out["of children"] += 1
        elif (key := (item["patient"], item["label"])) in chosen:
            left_out["further images of a patient"] += 1
        else:
            chosen[key] = item
    return list(chosen.values()), left_out


def _doubts(items: Sequence[Item]) -> Iterator[str]:
    """Yield what is not known about the images."""
    if all(item["patient"] == item["image"] for item in items):
        yield "No patient is named, so that each image counts as one patient."
    if not any(isinstance(item.get("age"), int | float) for item in items):
        yield "No age is known. Make sure that all images are of adults."


def head_of(network: nn.Module) -> Head:
    """Return the weights of the last layer, in double precision."""
    layer = classifier_head(network)
    weight, bias = (part.detach().cpu().double().numpy() for part in (layer.weight, layer.bias))
    return Head(weight, bias)


def put_head(network: nn.Module, head: Head) -> None:
    """Write weights into the last layer."""
    layer = classifier_head(network)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))


@torch.inference_mode()
def _compute(network: nn.Module, images: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
    """Return the input of the last layer, [N, F]."""
    inputs: list[NDArray[np.float32]] = []
    hook = classifier_head(network).register_forward_pre_hook(
        lambda _, arguments: inputs.append(arguments[0].flatten(1).cpu().numpy())
    )
    for start in range(0, len(images), _BATCH):
        network(torch.from_numpy(images[start : start + _BATCH]).to(device))
    hook.remove()
    return np.concatenate(inputs)
