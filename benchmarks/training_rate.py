"""Training rate on a CPU from a warm cache, beside a tensor in memory and a plain MONAI loop.

    python benchmarks/training_rate.py
    python benchmarks/training_rate.py --network resnet18 --size 96 --datalist kermany.json

Four loops take turns. Each trains epochs of the same images, after one epoch that is not counted:

- ours: the trainer of train.yaml from the image cache, with transforms, clipping, averaging and schedule;
- synthetic: the same network, precision and optimizer on one batch in memory, and nothing else;
- MONAI: `SupervisedTrainer` over `CacheDataset`, eager fp32, NCHW, without augmentation;
- MONAI, augmented: the same with MONAI's transforms that change an image as ours do.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import alternate, table
from monai.bundle import ConfigParser
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)

from covid_monai.bundle import Bundle
from covid_monai.phantoms.dataset import write_phantoms
from covid_monai.training.batches import PrepareImageBatch

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "covid_cxr_classification"
CONFIGS = [BUNDLE / "configs" / "train.yaml", ROOT / "configs" / "hardware" / "cpu.yaml"]
# These handlers need the validation split, or write a run.
LEFT_OUT = ("ValidationHandler", "EpochReport", "RunFolder", "RunTracker", "EarlyStop")
TRANSFORMS = (
    RandAffined(
        "image",
        prob=1.0,
        rotate_range=0.26,
        translate_range=(10, 10),
        scale_range=(0.2, 0.2),
        padding_mode="border",
    ),
    RandGaussianSmoothd("image", prob=0.25),
    RandAdjustContrastd("image", prob=1.0, gamma=(0.5, 2.0)),
    RandScaleIntensityd("image", 0.5, prob=1.0),
    RandShiftIntensityd("image", 0.3, prob=1.0),
    RandGaussianNoised("image", prob=1.0, std=0.15),
)


def main() -> None:
    """Measure, check, print a table and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="densenet121")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--datalist", type=Path, help="of `covid-monai data prepare`; phantoms without one")
    parser.add_argument("--images", type=int, default=256, help="in an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=Path("training_rate.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), options)
    options.output.write_text(json.dumps({**vars(options), "rows": rows}, indent=2, default=str))
    table(rows, f"{options.network}, {options.size} x {options.size}, {options.threads} threads")


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each loop."""
    datalist = options.datalist or write_phantoms(
        folder / "images", patients=options.images, size=256, ct=False
    )
    ours = _ours(folder, datalist, options)
    records, bundle = ours.get_parsed_content("train_records"), ours.get_parsed_content("bundle")
    check(ours, bundle, records)
    loops = {
        "ours": _epochs(ours.get_parsed_content("train::trainer")),
        "synthetic": _synthetic(ours, len(records)),
        "MONAI": _epochs(_plain(bundle, records, ())),
        "MONAI, augmented": _epochs(_plain(bundle, records, TRANSFORMS)),
    }
    alternate(loops, 1)
    rates = {name: len(records) / taken for name, taken in alternate(loops, options.repeats).items()}
    return [
        {"loop": name, "images_a_second": rate, "ours_to_this": rates["ours"] / rate}
        for name, rate in rates.items()
    ]


def _ours(folder: Path, datalist: Path, options: argparse.Namespace) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(path) for path in CONFIGS])
    values = {"bundle_root": BUNDLE, "datalist": datalist, "cache_dir": folder / "cache"}
    parser.update({key: str(value) for key, value in values.items()})
    parser.update(
        {"network_name": options.network, "image_size": options.size, "precision": options.precision}
    )
    images = f"$@data.records('training', @dataset_dir)[:{options.images // 32 * 32}]"
    parser.update({"train_records": images, "max_epochs": options.repeats + 1})
    kept = [part for part in parser["train::handlers"] if not part["_target_"].endswith(LEFT_OUT)]
    parser["train::handlers"] = kept
    return parser


def _epochs(trainer: Any) -> Any:
    trainer.state.max_epochs = 0

    def epoch() -> None:
        trainer.state.max_epochs += 1
        trainer.run()

    return epoch


def _synthetic(parser: ConfigParser, images: int) -> Any:
    names = ("inferer", "dataloader", "prepare_batch")
    inferer, loader, prepare = (parser.get_parsed_content(f"train::{name}") for name in names)
    image, label = prepare(next(iter(loader)), "cpu")
    network = (
        parser.get_parsed_content("bundle").build_network().to(memory_format=torch.channels_last).train()
    )
    loss = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)

    def epoch() -> None:
        for _ in range(images // len(image)):
            loss(inferer(image, network), label).backward()
            optimizer.step()
            optimizer.zero_grad()

    return epoch


def _plain(bundle: Bundle, records: list[dict], transforms: tuple) -> SupervisedTrainer:
    items = [{"image": record["image"], "label": record["label"]} for record in records]
    steps = Compose([*bundle.preprocessing.transforms, *transforms])
    loader = DataLoader(CacheDataset(items, steps, progress=False), batch_size=32, shuffle=True)
    network = bundle.build_network()
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=loader,
        network=network,
        optimizer=torch.optim.AdamW(network.parameters()),
        loss_function=torch.nn.CrossEntropyLoss(),
        decollate=False,
    )


def check(parser: ConfigParser, bundle: Bundle, records: list[dict]) -> None:
    """Exit unless images from the cache give the network's loss on images preprocessed anew."""
    images = parser.get_parsed_content("train::dataset").__getitems__(range(32))
    image, label = PrepareImageBatch([parser.get_parsed_content("normalization")])(images, "cpu")
    anew = torch.stack([bundle.preprocessing({"image": record["image"]})["image"] for record in records[:32]])
    network = bundle.build_network()
    with torch.no_grad():
        cached, exact = (
            torch.nn.functional.cross_entropy(network(x), label) for x in (image, anew.as_tensor())
        )
    if abs(cached - exact) > 0.01:
        sys.exit(
            f"The loss of images from the cache is {cached:.5f}, of images preprocessed again {exact:.5f}."
        )


if __name__ == "__main__":
    main()
