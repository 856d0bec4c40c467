"""Fit `covid_monai/transforms/lung_region.json` again, and print the accuracy of the lung region.

COVID_MONAI_DATA=DIR python benchmarks/lung_region.py [--write]

The boxes come from `covid-chestxray-dataset/annotations/annotations.json` (Microwork, CC BY 4.0). Labels of
disease are not read. Each image is used unchanged and three times with another collimation, and all of these
also mirrored.
"""

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.transform import resize
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from covid_monai.core.atomic_files import write_text_atomically
from covid_monai.phantoms import anatomy as anatomy
from covid_monai.phantoms.canvas import Canvas
from covid_monai.phantoms.radiograph import draw_radiograph, position_patient
from covid_monai.transforms import lung_region as module
from covid_monai.transforms.lung_region import THUMBNAIL, estimate_lung_region, thumbnail_features

RIGHT, LEFT = 1, 2


def read_boxes(folder: Path) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return images (96 x 96), boxes [N, 8] as shares of the image, and patients, if each lung has a box."""
    content = json.loads((folder / "annotations" / "annotations.json").read_text())
    pictures = {picture["id"]: picture for picture in content["images"] if "id" in picture}
    boxes: dict[int, dict[int, list]] = {}
    for item in (a for a in content["annotations"] if {"bbox", "category_id"} <= a.keys()):
        boxes.setdefault(item["image_id"], {}).setdefault(item["category_id"], []).append(item["bbox"])
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        patient_of = {row["filename"]: row["patientid"] for row in csv.DictReader(file)}
    images, found, patients = [], [], []
    for number, picture in sorted(pictures.items()):
        path, sides = folder / "images" / picture["file_name"], boxes.get(number, {})
        if path.is_file() and all(len(sides.get(side, [])) == 1 for side in (RIGHT, LEFT)):
            grey = np.asarray(Image.open(path).convert("L"), dtype=np.float64) / 255
            images.append(resize(grey, (96, 96), anti_aliasing=True))
            found.append([_shares(sides[side][0], picture) for side in (RIGHT, LEFT)])
            patients.append(patient_of.get(path.name, path.name))
    return images, np.array(found).reshape(-1, 8), np.array(patients)


def _shares(box: list[float], picture: dict) -> list[float]:
    x, y, width, height = box
    w, h = picture["width"], picture["height"]
    return [x / w, y / h, (x + width) / w, (y + height) / h]


def collimated(
    image: np.ndarray, boxes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image with margins cut off or black margins added, and its boxes moved accordingly."""
    size, pad = len(image), round(0.08 * len(image)) + 1
    top, bottom, left, right = (rng.uniform(-0.08, 0.12, 4) * size).astype(int)
    rows, columns = slice(pad + top, pad + size - bottom), slice(pad + left, pad + size - right)
    cut = np.pad(image, pad)[rows, columns]
    moved = boxes * size
    moved[0::2] = (moved[0::2] - left) / cut.shape[1]
    moved[1::2] = (moved[1::2] - top) / cut.shape[0]
    return cut, np.clip(moved, 0, 1)


def mirrored(features: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features [N, 144] and boxes [N, 8] of the mirrored images."""
    flipped = features.reshape(-1, THUMBNAIL, THUMBNAIL)[:, :, ::-1].reshape(len(features), -1)
    x0, y0, x1, y1 = np.moveaxis(boxes.reshape(-1, 2, 4)[:, ::-1], 2, 0)
    return flipped, np.stack([1 - x1, y0, 1 - x0, y1], axis=2).reshape(-1, 8)


def fit(features: np.ndarray, boxes: np.ndarray) -> Ridge:
    """Fit one linear model for all eight sides of the boxes."""
    flipped, mirror_boxes = mirrored(features, boxes)
    return Ridge(alpha=10).fit(np.vstack([features, flipped]), np.vstack([boxes, mirror_boxes]))


def box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes [N, 4]."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (one, other)]
    return common / (areas[0] + areas[1] - common)


def true_region(seed: int, *, size: int, view: str) -> np.ndarray:
    """Return the lung fields of the synthetic image of the same seed, size and view."""
    habitus = anatomy.Habitus(seed, sex="M", view=view)
    canvas: Canvas = position_patient(np.random.default_rng([seed, 1, 0]), size=size, view=view)
    return canvas.fill([anatomy.lung_outline(habitus, side) for side in anatomy.SIDES], blur=0.5) > 0.5


def phantom_dice(class_name: str, view: str) -> np.ndarray:
    """Return the Dice of estimated and true lung fields on 30 synthetic images."""
    scores = []
    for seed in range(30):
        truth = true_region(seed, size=256, view=view)
        region = estimate_lung_region(draw_radiograph(class_name, seed=seed, size=256, view=view))
        scores.append(2 * np.sum(truth & region) / (truth.sum() + region.sum()))
    return np.array(scores)


def main() -> None:
    """Cross-validate, fit on all images, write the model with `--write`, and measure on phantoms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace lung_region.json")
    options = parser.parse_args()
    images, boxes, patients = read_boxes(Path(os.environ["COVID_MONAI_DATA"]) / "covid-chestxray-dataset")
    features = np.array([thumbnail_features(image) for image in images])
    rng = np.random.default_rng(0)
    changed = [collimated(f, b, rng) for _ in range(3) for f, b in zip(images, boxes, strict=True)]
    more = np.array([thumbnail_features(image) for image, _ in changed])
    more_boxes, owner = np.array([b for _, b in changed]), np.tile(patients, 3)
    estimated, fixed = np.zeros_like(boxes), np.zeros_like(boxes)
    for train, test in GroupKFold(5).split(features, groups=patients):
        known = np.isin(owner, patients[train])
        model = fit(np.vstack([features[train], more[known]]), np.vstack([boxes[train], more_boxes[known]]))
        estimated[test], fixed[test] = model.predict(features[test]), np.median(boxes[train], axis=0)
    for name, guess in (("estimated boxes", estimated), ("fixed boxes", fixed)):
        iou = box_iou(np.clip(guess, 0, 1).reshape(-1, 4), boxes.reshape(-1, 4))
        print(
            f"{name}: {len(images)} images, IoU {iou.mean():.3f}, 5th percentile {np.quantile(iou, 0.05):.3f}"
        )
    if options.write:
        model = fit(np.vstack([features, more]), np.vstack([boxes, more_boxes]))
        content = {"weights": model.coef_.T.round(5).tolist(), "constant": model.intercept_.round(5).tolist()}
        write_text_atomically(Path(module.__file__).with_name("lung_region.json"), json.dumps(content) + "\n")
        module._model.cache_clear()
    for class_name in ("normal", "pneumonia", "covid"):
        for view in ("PA", "AP"):
            dice = phantom_dice(class_name, view)
            print(f"phantoms, {class_name}, {view}: Dice {dice.mean():.3f}, lowest {dice.min():.3f}")


if __name__ == "__main__":
    main()
