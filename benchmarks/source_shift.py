"""Methods that are said to help on images of another hospital, each compared with the recipe.

    covid-monai experiment configs/experiments/loso.yaml --data DIR --output runs/loso
    python benchmarks/source_shift.py --folds runs/loso/folds --output runs/source_shift

Every method trains the network of loso.yaml from scratch on the same images, with the sampling, augmentation
and averaged weights of the recipe, and scores the collection left out. Existing results are not computed
again. Each method writes a file `METHOD.csv` for `covid-monai compare`.
"""

import argparse
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import batch_transforms
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.losses import ContrastiveLoss
from monai.utils import set_determinism
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, softmax
from torch.utils.data import BatchSampler

from covid_monai.bundle import Bundle
from covid_monai.datasets.datalist import Datalist, read_datalist
from covid_monai.evaluation.metrics.paired_comparison import compare_predictions
from covid_monai.evaluation.metrics.prediction_table import read_predictions, write_predictions
from covid_monai.networks.build import classifier_head, parameter_groups
from covid_monai.training.batches import AutocastInferer, PrepareImageBatch
from covid_monai.training.dataset import RadiographDataset, split_normalization
from covid_monai.training.handlers import AverageWeights
from covid_monai.training.sampling import EpochSampler, source_weights

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "covid_cxr_classification"
CONFIGS = (BUNDLE / "configs" / "train.yaml", ROOT / "configs" / "experiments" / "loso.yaml")
ENSEMBLE_SEEDS = (0, 1, 2)
PRETRAINING_EPOCHS = 4
Views = Callable[[int], Iterator[Tensor]]  # images of an epoch


class TrainingBatch(NamedTuple):
    """One batch as a loss needs it.

    Args:
        features: Shape [N, D], input of the last layer.
        risks: Shape [N], cross-entropies.
        source: Shape [N], collection of each image.
        progress: Share of the training that is done, from 0 to 1.
    """

    features: Tensor
    risks: Tensor
    source: Tensor
    progress: float


class Learner:
    """The recipe itself: a network, whose input of the last layer is kept, and its loss.

    Args:
        network: Network with random weights.
        sources: Number of collections in the training.
        precision: Precision of `AutocastInferer`.
    """

    def __init__(self, network: nn.Module, *, sources: int, precision: str) -> None:
        self.network, self.sources, self._infer = network, sources, AutocastInferer(precision)
        self.width = classifier_head(network).in_features
        self._last: dict[str, Tensor] = {}
        self.added: nn.Module = nn.Identity()
        head = classifier_head(network)
        head.register_forward_pre_hook(lambda _, inputs: self._last.update(features=inputs[0]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features [N, D] and logits [N, K], float32."""
        logits = self._infer(image.contiguous(memory_format=torch.channels_last), self.network)
        return self._last["features"].float(), logits

    def pretrain(self, views: Views) -> None:
        """Train without labels before the training itself; the recipe does not."""

    def loss(self, batch: TrainingBatch) -> Tensor:
        """Compute the loss of a batch."""
        return batch.risks.mean()


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


class Adversarial(Learner):
    """Features from which a second head cannot tell the source (Ganin 2016, with its schedule)."""

    def __init__(self, network: nn.Module, **settings: Any) -> None:
        super().__init__(network, **settings)
        self.added = nn.Sequential(nn.Linear(self.width, 128), nn.ReLU(), nn.Linear(128, self.sources))

    def loss(self, batch: TrainingBatch) -> Tensor:
        """Add the cross-entropy of the second head, behind a reversed gradient."""
        strength = 2 / (1 + np.exp(-10 * batch.progress)) - 1
        source = self.added(_Reverse.apply(batch.features, strength))
        return batch.risks.mean() + cross_entropy(source, batch.source)


class EqualRisks(Learner):
    """Equal risks of all sources: the variance of their risks is part of the loss (V-REx, Krueger 2021)."""

    def loss(self, batch: TrainingBatch) -> Tensor:
        """Add ten times the variance of the risks by source, after a quarter of the training."""
        by_source = torch.stack(
            [batch.risks[batch.source == value].mean() for value in batch.source.unique()]
        )
        return batch.risks.mean() + 10 * (batch.progress > 0.25) * by_source.var(unbiased=False)


class SelfSupervised(Learner):
    """Pretraining without labels, on pairs of augmented views of an image (SimCLR, Chen 2020)."""

    def pretrain(self, views: Views) -> None:
        """Train on the training images, which do not include the collection left out."""
        self.added = nn.Sequential(nn.Linear(self.width, self.width), nn.ReLU(), nn.Linear(self.width, 128))
        optimizer = torch.optim.AdamW([*self.network.parameters(), *self.added.parameters()], lr=1e-3)
        contrast = ContrastiveLoss(temperature=0.2)
        for epoch in range(PRETRAINING_EPOCHS):
            for pair in zip(views(epoch), views(epoch), strict=True):
                features, _ = self.forward(torch.cat(pair))
                optimizer.zero_grad()
                contrast(*self.added(features).chunk(2)).backward()
                optimizer.step()


METHODS: dict[str, type[Learner]] = {
    "recipe": Learner,
    "adversarial": Adversarial,
    "equal_risks": EqualRisks,
    "self_supervised": SelfSupervised,
}


def main() -> None:
    """Train the missing networks, write the predictions and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=Path, required=True, help="folder of the datalists of the folds")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    folds = {path.stem: read_datalist(path) for path in sorted(options.folds.glob("*.json"))}
    if not folds:
        raise SystemExit(f"{options.folds} has no fold. Run configs/experiments/loso.yaml first.")
    options.output.mkdir(parents=True, exist_ok=True)
    seeds = [(method, 0) for method in METHODS] + [("recipe", seed) for seed in ENSEMBLE_SEEDS[1:]]
    scores = {
        (method, seed, name): score(data, method, seed, options.output / f"{method}-{seed}-{name}.npz")
        for method, seed in seeds
        for name, data in folds.items()
    }
    rows = compare(write_methods(scores, folds, options.output))
    (options.output / "source_shift.json").write_text(json.dumps(rows, indent=2))
    show(rows)


def score(data: Datalist, method: str, seed: int, path: Path) -> dict[str, np.ndarray]:
    """Return probabilities [N, K] of the test images of a fold: `single` view, and mean of `several`."""
    if not path.is_file():
        settings = recipe_settings()
        bundle = Bundle(
            BUNDLE,
            class_names=data.class_names,
            image_size=settings["image_size"],
            network_name=settings["network_name"],
        )
        network = train(bundle, data, METHODS[method], settings, seed=seed, title=path.stem)
        images = Dataset(
            [{"image": record["image"]} for record in data.records("test")], bundle.preprocessing
        )
        parts = [probabilities(network, batch["image"]) for batch in DataLoader(images, batch_size=64)]
        np.savez(path, **{key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
    return dict(np.load(path))


def recipe_settings() -> dict[str, Any]:
    """Read the settings of train.yaml and of the variant `recipe` of loso.yaml."""
    parser = ConfigParser()
    parser.read_config([str(path) for path in CONFIGS])
    parser.update(parser["study"]["variants"]["recipe"])
    keys = (
        *("network_name", "image_size", "max_epochs", "batch_size", "learning_rate", "weight_decay"),
        *("label_smoothing", "max_norm", "ema_decay", "precision"),
    )
    return {key: parser[key] for key in (*keys, "border_probability", "flip_probability")}


def train(
    bundle: Bundle, data: Datalist, method: type[Learner], settings: dict[str, Any], *, seed: int, title: str
) -> nn.Module:
    """Train one network by one method and return it with the moving average of its weights."""
    set_determinism(seed=seed)
    records = data.records("training")
    sources = sorted({record["source"] for record in records})
    decoding, normalization = split_normalization(bundle.preprocessing)
    images = RadiographDataset(records, decoding, image_size=settings["image_size"])
    changed = {key: settings[key] for key in ("border_probability", "flip_probability")}
    prepare = PrepareImageBatch(batch_transforms(normalization, **changed))
    source_of = torch.tensor([sources.index(record["source"]) for record in records])
    sampler = EpochSampler(images, weights=source_weights(records), seed=seed)
    batches = BatchSampler(sampler, settings["batch_size"], drop_last=True)
    network = bundle.build_network().to(memory_format=torch.channels_last)
    learner = method(network, sources=len(sources), precision=settings["precision"])

    def views(epoch: int) -> Iterator[Tensor]:
        sampler.set_epoch(epoch)
        return (prepare(images.__getitems__(batch), "cpu")[0] for batch in batches)

    learner.pretrain(views)
    optimizer, schedule = make_optimizer(learner, settings, steps=len(batches))

    def step(engine: Engine, batch: list[int]) -> float:
        image, label = prepare(images.__getitems__(batch), "cpu")
        features, logits = learner.forward(image)
        risks = cross_entropy(logits, label, reduction="none", label_smoothing=settings["label_smoothing"])
        progress = engine.state.iteration / total
        loss = learner.loss(TrainingBatch(features, risks, source_of[batch], progress))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings["max_norm"])
        optimizer.step()
        schedule.step()
        return loss.item()

    total, engine = settings["max_epochs"] * len(batches), Engine(step)
    averaged = copy.deepcopy(network)
    AverageWeights(network, averaged, decay=settings["ema_decay"]).attach(engine)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: sampler.set_epoch(engine.state.epoch))
    ProgressBar(desc=title).attach(engine, output_transform=lambda loss: {"loss": loss})
    engine.run(batches, max_epochs=settings["max_epochs"])
    return averaged.eval()


def make_optimizer(learner: Learner, settings: dict[str, Any], *, steps: int) -> tuple[Any, Any]:
    """Make optimizer and schedule as in train.yaml, including the layers that the learner adds."""
    groups = parameter_groups(
        learner.network, learning_rate=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    groups.append({"params": [*learner.added.parameters()], "lr": settings["learning_rate"]})
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        epochs=settings["max_epochs"],
        steps_per_epoch=steps,
    )
    return optimizer, schedule


@torch.inference_mode()
def probabilities(network: nn.Module, image: Tensor) -> dict[str, np.ndarray]:
    """Compute probabilities of images `[N, 1, S, S]`, and their mean with mirrored, larger, smaller ones."""
    border, side = image.shape[-1] // 20, image.shape[-1]
    larger = interpolate(image[..., border:-border, border:-border], size=(side, side), mode="bilinear")
    smaller = interpolate(
        nn.functional.pad(image, (border,) * 4, mode="replicate"), size=(side, side), mode="bilinear"
    )
    views = [softmax(network(view), 1).double().numpy() for view in (image, image.flip(-1), larger, smaller)]
    return {"single": views[0], "several": np.mean(views, axis=0)}


def write_methods(
    scores: dict[tuple[str, int, str], dict[str, np.ndarray]], folds: dict[str, Datalist], folder: Path
) -> dict[str, Path]:
    """Write a predictions file for each method, including test-time augmentation and ensemble."""
    made = {method: {name: scores[method, 0, name]["single"] for name in folds} for method in METHODS}
    made["test_time_augmentation"] = {name: scores["recipe", 0, name]["several"] for name in folds}
    made["ensemble"] = {
        name: np.mean([scores["recipe", seed, name]["single"] for seed in ENSEMBLE_SEEDS], axis=0)
        for name in folds
    }
    for method, by_fold in made.items():
        rows = [
            {**record, "split": "test", "probabilities": row}
            for name, data in folds.items()
            for record, row in zip(data.records("test"), by_fold[name], strict=True)
        ]
        write_predictions(folder / f"{method}.csv", rows, next(iter(folds.values())).class_names)
    return {method: folder / f"{method}.csv" for method in made}


def compare(files: dict[str, Path]) -> list[dict[str, Any]]:
    """Compare each method with the recipe by macro AUROC, or by sensitivity in a collection of one class."""
    tables, rows = {method: read_predictions(path) for method, path in files.items()}, []
    for method in [name for name in tables if name != "recipe"]:
        for source in sorted(set(tables["recipe"].sources.tolist())):
            pair = [tables[name].of_source(source) for name in ("recipe", method)]
            metric = "auroc" if len(np.unique(pair[0].labels)) > 1 else "balanced_accuracy"
            found = compare_predictions(*pair)
            rows.append(
                {"method": method, "source": source, "metric": metric, **found["metrics"][metric]}
                | {key: found[key] for key in ("images", "patients")}
            )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    columns = ("method", "left out", "images (patients)", "metric", "recipe", "method's", "difference")
    table = Table(*columns)
    for row in rows:
        values = [f"{row[key]['value']:.3f}" for key in ("first", "second", "difference")]
        values[-1] += f" ({row['difference']['low']:.3f} to {row['difference']['high']:.3f})"
        table.add_row(
            *(row["method"], row["source"], f"{row['images']} ({row['patients']})", row["metric"]), *values
        )
    Console().print(table)


if __name__ == "__main__":
    main()
