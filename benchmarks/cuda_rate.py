"""Rate of training and inference on one CUDA device, beside MONAI's plain loop and the roofline.

    python benchmarks/cuda_rate.py --output cuda_rate.json
    python benchmarks/cuda_rate.py --device cpu --quick          # a check that it runs

Three trainings are compared: MONAI as in its tutorials (`CacheDataset`, `DataLoader`, eager fp32, NCHW,
rotation and zoom image by image); ours (images decoded once, kept on the device as uint8 and augmented
there, bf16, channels last, `torch.compile`, fused AdamW); and our steps on one tensor of noise, without any
data. Inference is measured in eager fp32, then in bf16 with channels last, then compiled, at several batch
sizes. Its images start as uint8 on the device.

The roofline is the limit that arithmetic and memory set: counted FLOPs (three times as many for training)
over the device's dense bf16 peak, and the bytes of all layers' inputs and outputs in bf16 over its
bandwidth. Compiling joins layers and saves some of these bytes, so that the second limit can be passed.

The script fails unless the compiled bf16 network gives the probabilities of the eager fp32 network within
0.03, and unless the training lowers the loss.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from common import batch_transforms, table
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, LoadImaged, RandRotated, RandZoomd, Resized, ScaleIntensityd
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from covid_monai.networks import build_network
from covid_monai.phantoms.radiograph import draw_radiograph

CLASSES = ("normal", "pneumonia", "covid")
LARGEST_DIFFERENCE = 0.03  # of a probability, bf16 from fp32
# Dense bf16 FLOP/s and bytes/s, from NVIDIA's data sheets.
PEAKS = {
    "H200": (989e12, 4.8e12),
    "H100": (989e12, 3.35e12),
    "A100": (312e12, 2.0e12),
    "L40S": (362e12, 0.86e12),
}


def main() -> None:
    """Measure, show tables, and fail if the fast network differs from the slow one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a small network on small images, few steps")
    parser.add_argument("--images", type=int, default=8192, help="kept on the device")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=100, help="measured, after as many again to warm up / 5")
    parser.add_argument("--output", type=Path, default=Path("cuda_rate.json"))
    options = parser.parse_args()
    options.network, options.size, options.backend = "densenet121", 224, "inductor"
    if options.quick:
        options.network, options.size, options.backend = "resnet10", 64, "aot_eager"  # needs no compiler
        options.images, options.batch_size, options.steps = 64, 16, 10
    options.device = torch.device(options.device)
    if options.device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; --device cpu --quick shows that the script runs")
    torch.manual_seed(0)
    drawn = draw_images(options.size, count=24)
    report = measure(options, drawn)
    options.output.write_text(json.dumps(report, indent=2))
    for name in ("training", "inference"):
        table(report[name], f"{name.capitalize()}, {options.network} at {options.size}, {report['device']}")
    table([report["roofline"]], "Roofline")
    if report["largest_difference"] > LARGEST_DIFFERENCE or not report["loss_falls"]:
        raise SystemExit("wrong answers: the figures above say nothing")


def measure(options: argparse.Namespace, drawn: np.ndarray) -> dict:
    """All rows, the limit and the check."""
    images, labels = on_device(drawn, options)
    losses: list[float] = []
    training = [
        {"loop": "MONAI, eager fp32", **train_monai(drawn, options)},
        {"loop": "ours", **train_ours(images, labels, options, losses)},
        {"loop": "ours, synthetic tensor", **train_synthetic(options)},
    ]
    for row in training:
        row["ratio_to_monai"] = row["images_per_second"] / training[0]["images_per_second"]
        row["ratio_to_synthetic"] = row["images_per_second"] / training[-1]["images_per_second"]
    inference, difference = infer_all(images, options)
    third = max(1, len(losses) // 3)
    return {
        "device": torch.cuda.get_device_name() if options.device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "batch_size": options.batch_size,
        "training": training,
        "inference": inference,
        "roofline": roofline(options),
        "largest_difference": difference,
        "loss_falls": bool(np.mean(losses[-third:]) < np.mean(losses[:third])),
    }


def draw_images(size: int, *, count: int) -> np.ndarray:
    """Phantoms of the three classes in turn, `[count, size, size]` uint8."""
    images = [draw_radiograph(CLASSES[number % 3], seed=number, size=size) for number in range(count)]
    return (np.stack(images) * 255).astype(np.uint8)


def on_device(drawn: np.ndarray, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """As many images as asked for, shifted copies of the phantoms, `[N, 1, S, S]` uint8, and labels."""
    numbers = np.arange(options.images)
    images = np.stack([np.roll(drawn[n % len(drawn)], n // len(drawn) % 16, axis=1) for n in numbers])
    labels = torch.from_numpy(numbers % len(drawn) % 3)
    return torch.from_numpy(images)[:, None].to(options.device), labels.to(options.device)


def build(options: argparse.Namespace) -> nn.Module:
    """The network with random weights, the same ones every time."""
    torch.manual_seed(0)
    return build_network(options.network, num_classes=len(CLASSES)).to(options.device)


def train_monai(drawn: np.ndarray, options: argparse.Namespace) -> dict:
    """The loop of MONAI's tutorials on files, decoded before the clock starts."""
    with tempfile.TemporaryDirectory() as name:
        records = []
        for number, radiograph in enumerate(drawn):
            path = Path(name) / f"{number}.png"
            Image.fromarray(radiograph).save(path)
            records.append({"image": str(path), "label": number % 3})
        size = (options.size, options.size)
        transform = Compose(
            [
                LoadImaged("image", image_only=True, ensure_channel_first=True),
                Resized("image", size),
                ScaleIntensityd("image"),
                RandRotated("image", range_x=0.26, prob=0.5),
                RandZoomd("image", min_zoom=0.9, max_zoom=1.1, prob=0.5),
            ]
        )
        needed = options.batch_size * 4
        dataset = CacheDataset(records * -(-needed // len(records)), transform, progress=False)
        workers = 0 if options.quick else 8
        loader = DataLoader(
            dataset,
            batch_size=options.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=options.device.type == "cuda",
        )
        network = build(options)
        optimizer, loss = torch.optim.Adam(network.parameters(), 1e-4), nn.CrossEntropyLoss()

        def step(batch: dict) -> Tensor:
            image, label = (batch[key].to(options.device, non_blocking=True) for key in ("image", "label"))
            optimizer.zero_grad()
            found = loss(network(image), label)
            found.backward()
            optimizer.step()
            return found

        return rate(step, forever(loader), options, steps=min(options.steps, 20))


def forever(loader: DataLoader) -> Iterator[dict]:
    """Batches, epoch after epoch."""
    while True:
        yield from loader


def our_step(options: argparse.Namespace) -> Callable[[Tensor, Tensor], Tensor]:
    """One step on images `[N, 1, S, S]` in [0, 1] that are on the device already."""
    network = build(options).to(memory_format=torch.channels_last)
    compiled = torch.compile(network, backend=options.backend)
    fused = options.device.type == "cuda"
    optimizer, loss = torch.optim.AdamW(network.parameters(), 1e-3, fused=fused), nn.CrossEntropyLoss()

    def step(image: Tensor, label: Tensor) -> Tensor:
        with torch.autocast(options.device.type, dtype=torch.bfloat16):
            logits = compiled(image.contiguous(memory_format=torch.channels_last))
        found = loss(logits.float(), label)
        optimizer.zero_grad(set_to_none=True)
        found.backward()
        optimizer.step()
        return found

    return step


def train_ours(images: Tensor, labels: Tensor, options: argparse.Namespace, losses: list[float]) -> dict:
    """Train on images that are normalised and augmented on the device; `losses` gets all losses."""
    step, transforms = our_step(options), batch_transforms(normalised)
    augment = Compose(transforms[transforms.index(normalised) :])

    def of_batch(chosen: Tensor) -> Tensor:
        image = augment(images[chosen])
        return step(image, labels[chosen])

    return rate(of_batch, batches(len(images), options), options, steps=options.steps, losses=losses)


def normalised(images: Tensor) -> Tensor:
    """Convert uint8 to float32 with a mean of about 0 and a spread of about 1."""
    return images.float().sub_(127.5).div_(64.0)


def batches(count: int, options: argparse.Namespace) -> Iterator[Tensor]:
    """Yield the numbers of images, each once in an epoch, drawn on the device."""
    while True:
        order = torch.randperm(count, device=options.device)
        for start in range(0, count - options.batch_size + 1, options.batch_size):
            yield order[start : start + options.batch_size]


def train_synthetic(options: argparse.Namespace) -> dict:
    """Our step without any data: what loading can reach at best."""
    step = our_step(options)
    shape = (options.batch_size, 1, options.size, options.size)
    image = torch.randn(shape, device=options.device).contiguous(memory_format=torch.channels_last)
    label = torch.arange(options.batch_size, device=options.device) % len(CLASSES)

    def always() -> Iterator[Tensor]:
        while True:
            yield image

    return rate(lambda same: step(same, label), always(), options, steps=options.steps)


def rate(
    step: Callable[..., Tensor],
    given: Iterator,
    options: argparse.Namespace,
    *,
    steps: int,
    losses: list[float] | None = None,
) -> dict:
    """Images per second of `steps` steps after a fifth as many, and the most memory that the device gave."""
    cuda = options.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    found = [step(next(given)).detach() for _ in range(max(2, steps // 5))]
    wait(options)
    begin = time.perf_counter()
    found += [step(next(given)).detach() for _ in range(steps)]
    wait(options)
    elapsed = time.perf_counter() - begin
    if losses is not None:
        losses.extend(torch.stack(found).tolist())
    return {
        "images_per_second": options.batch_size * steps / elapsed,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
    }


def wait(options: argparse.Namespace) -> None:
    """Until the device has done what it was given."""
    if options.device.type == "cuda":
        torch.cuda.synchronize()


@torch.inference_mode()
def infer_all(images: Tensor, options: argparse.Namespace) -> tuple[list[dict], float]:
    """A row for each way and batch size, and how far the fast probabilities are from the eager fp32 ones."""
    network = build(options).eval()
    fast = build(options).eval().to(memory_format=torch.channels_last)
    fast.load_state_dict(network.state_dict())
    compiled = torch.compile(fast, backend=options.backend)

    def eager(chosen: Tensor) -> Tensor:
        return network(normalised(chosen))

    def half(chosen: Tensor, run: Callable[[Tensor], Tensor] = fast) -> Tensor:
        with torch.autocast(options.device.type, dtype=torch.bfloat16):
            return run(normalised(chosen).contiguous(memory_format=torch.channels_last))

    ways = {
        "eager fp32": eager,
        "bf16, channels last": half,
        "compiled": lambda images: half(images, compiled),
    }
    sizes = (options.batch_size,) if options.quick else (1, 32, options.batch_size, 4 * options.batch_size)
    rows = [
        {"way": name, "batch_size": size, "images_per_second": inference_rate(way, images[:size], options)}
        for size in sizes
        for name, way in ways.items()
    ]
    some = images[: options.batch_size]
    expected, found = (torch.softmax(way(some).double(), dim=1) for way in (eager, ways["compiled"]))
    return rows, float((expected - found).abs().max())


def inference_rate(way: Callable[[Tensor], Tensor], images: Tensor, options: argparse.Namespace) -> float:
    """Images per second on the same images again and again."""
    for _ in range(max(2, options.steps // 10)):
        way(images)
    wait(options)
    begin = time.perf_counter()
    for _ in range(options.steps):
        way(images)
    wait(options)
    return len(images) * options.steps / (time.perf_counter() - begin)


def roofline(options: argparse.Namespace) -> dict:
    """FLOPs and bytes of one image, and the rates that the device's peaks would allow."""
    network, moved = build(options).eval(), [0]

    def count(_module: nn.Module, given: tuple, made: Tensor) -> None:
        moved[0] += 2 * (sum(each.numel() for each in given) + made.numel())  # bf16

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    image = torch.zeros(1, 1, options.size, options.size, device=options.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    flops, name = counter.get_total_flops(), torch.cuda.get_device_name() if image.is_cuda else ""
    found = {"gflop": flops / 1e9, "mb_moved": moved[0] / 1e6}
    for peak, bandwidth in (PEAKS[key] for key in PEAKS if key in name):
        limits = {"arithmetic": peak / flops, "memory": bandwidth / moved[0]}
        found |= {f"inference_by_{limit}": images for limit, images in limits.items()}
        found |= {f"training_by_{limit}": images / 3 for limit, images in limits.items()}
    return found


if __name__ == "__main__":
    main()
