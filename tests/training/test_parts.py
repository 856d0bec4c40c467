"""The parts that train.yaml composes, one by one, against references."""

import itertools
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from mlflow import MlflowException
from monai.transforms import Compose, NormalizeIntensityd
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from covid_monai.bundle import Bundle
from covid_monai.core.errors import exception_chain
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.datasets.datalist import read_datalist
from covid_monai.training import (
    AutocastInferer,
    AverageWeights,
    BatchAugment,
    ClassificationScores,
    EarlyStop,
    EpochSampler,
    PrepareClassificationBatch,
    RadiographDataset,
    RunTracker,
    check_records,
    class_weights,
    normalization,
    source_weights,
)

BUNDLE = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"
# Every change of BatchAugment but the rotation, switched off.
STILL = dict.fromkeys(("scale", "shift", "blur_probability", "contrast", "brightness", "noise"), 0)


def test_class_weights_make_every_class_count_alike_and_every_image_once_on_average():
    labels = [0] * 50 + [1] * 7 + [2] * 13
    weights = class_weights([{"label": label} for label in labels], 3).numpy()
    np.testing.assert_allclose(weights * np.bincount(labels), len(labels) / 3, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1, rel=1e-6)


def test_splits_that_cannot_train_are_refused_by_class_and_with_a_way_out():
    some = [{"label": 0}, {"label": 1}]
    with pytest.raises(ValueError, match=r"no image of class b; .*--classes"):
        check_records([{"label": 0}], some, class_names=["a", "b"])
    with pytest.raises(ValueError, match="--validation-fraction"):
        check_records(some, [{"label": 0}] * 5, class_names=["a", "b"])
    with pytest.raises(ValueError, match="--validation-fraction"):
        check_records(some, some, class_names=["a", "b"], world_size=3)
    check_records(some, some, class_names=["a", "b"], world_size=2)


@given(size=st.integers(2, 60), world_size=st.integers(1, 4), epoch=st.integers(0, 5))
@settings(deadline=None)
def test_no_image_is_drawn_twice_in_an_epoch(size, world_size, epoch):
    ranks = []
    for rank in range(world_size):
        sampler = EpochSampler(range(size), seed=3, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        ranks.append(list(sampler))
    drawn = [index for rank in ranks for index in rank]
    assert len(drawn) == len(set(drawn))
    assert len(drawn) > size - world_size
    assert len({len(rank) for rank in ranks}) == 1


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = EpochSampler(range(100), seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    torch.manual_seed(1)
    first = order(0, 3)
    torch.manual_seed(2)
    assert order(0, 3) == first
    assert order(0, 4) != first
    assert order(1, 3) != first


def test_augmentation_repeats_under_a_seed_and_differs_by_image():
    image = torch.rand(1, 1, 32, 32).expand(4, -1, -1, -1)
    torch.manual_seed(5)
    first = BatchAugment()(image)
    torch.manual_seed(5)
    assert torch.equal(first, BatchAugment()(image))
    assert not torch.equal(first[0], first[1])
    assert first.shape == image.shape
    assert first.dtype == image.dtype


def test_augmentation_of_nothing_changes_nothing():
    still = BatchAugment(rotate_degrees=0, **STILL)
    image = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(still(image), image, atol=1e-5, rtol=0)


def test_rotation_keeps_a_disc_and_moves_a_corner():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 65), torch.linspace(-1, 1, 65), indexing="ij")
    disc = ((x**2 + y**2) < 0.5).float().expand(16, 1, -1, -1)
    turn = BatchAugment(rotate_degrees=30, **STILL)
    torch.manual_seed(0)
    bar = (x.abs() < 0.1).float().expand(16, 1, -1, -1)
    disc_change, bar_change = ((turn(image) - image).abs().mean() / image.mean() for image in (disc, bar))
    assert disc_change < 0.05 < 0.3 < bar_change


def test_batches_arrive_channels_last_with_labels_untouched():
    batch = {"image": torch.randint(256, (3, 2, 8, 8), dtype=torch.uint8), "label": torch.tensor([0, 1, 2])}
    image, label = PrepareClassificationBatch((0.0, 1.0))(batch, "cpu")
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image, batch["image"] / 255)
    assert torch.equal(label, batch["label"])


def test_augmentation_comes_before_the_normalisation_and_after_it():
    batch = {"image": torch.full((1, 1, 4, 4), 255, dtype=torch.uint8), "label": torch.tensor([0])}
    seen = []
    PrepareClassificationBatch(
        (0.5, 0.25),
        augmentation=lambda image: seen.append(image.unique().tolist()) or image / 2 + 0.25,
        augment=lambda image: seen.append(image.unique().tolist()) or image,
    )(batch, "cpu")
    assert seen == [[1.0], [1.0]]


def test_bf16_computes_in_bf16_and_returns_float32():
    seen = []
    network = torch.nn.Linear(4, 2)
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    logits = AutocastInferer("bf16")(torch.rand(3, 4), network)
    assert seen == [torch.bfloat16]
    assert logits.dtype == torch.float32
    AutocastInferer()(torch.rand(3, 4), network)
    assert seen[-1] == torch.float32
    with pytest.raises(ValueError, match="bf16"):
        AutocastInferer("half")


def test_scores_are_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(90, 3, generator=generator)
    labels = torch.randint(0, 3, (90,), generator=generator)
    scores = ClassificationScores(["a", "b", "c"])
    engine = Engine(lambda engine, batch: {"pred": logits[batch], "label": labels[batch]})
    scores.attach(engine, "auroc")
    engine.run([torch.arange(0, 40), torch.arange(40, 90)])
    metrics, probabilities = engine.state.metrics, logits.softmax(1).numpy()
    one_vs_rest = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert metrics["auroc"] == pytest.approx(one_vs_rest, abs=1e-6)
    assert metrics["auroc_b"] == pytest.approx(roc_auc_score(labels == 1, probabilities[:, 1]), abs=1e-6)
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)))
    assert metrics["sensitivity_c"] == pytest.approx(
        (logits.argmax(1) == 2)[labels == 2].float().mean().item()
    )


@pytest.mark.parametrize("cache", ["disk", "memory"])
def test_batches_are_the_preprocessed_images_to_half_a_grey_level_decoded_once(
    phantoms, tmp_path, monkeypatch, cache
):
    records = read_datalist(phantoms).records("training")
    preprocessing = Bundle(BUNDLE, image_size=64).preprocessing
    images = RadiographDataset(
        records, preprocessing, image_size=64, cache=cache, cache_dir=tmp_path / "images"
    )
    expected = torch.stack([preprocessing({"image": r["image"]})["image"].as_tensor() for r in records])
    monkeypatch.setattr(
        "covid_monai.readers.monai_readers.read_radiograph", lambda path: pytest.fail("decoded again")
    )
    indices = [5, 0, 5, *range(len(records))]
    batch = images.__getitems__(indices)
    assert type(batch["image"]) is torch.Tensor
    assert batch["label"].tolist() == [records[index]["label"] for index in indices]
    image, _ = PrepareClassificationBatch(normalization(preprocessing))(batch, "cpu")
    assert (image - expected[indices]).abs().max() * 0.226 * 255 <= 0.5 + 1e-3
    assert torch.equal(images[3]["image"], batch["image"][6])


def test_a_image_that_cannot_be_read_is_named_with_the_cause(phantoms, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    records = [
        *read_datalist(phantoms).records("training"),
        {"image": str(tmp_path / "torn.png"), "label": 0},
    ]
    for cache in ("disk", "memory"):
        with pytest.raises(RuntimeError) as error:
            RadiographDataset(
                records,
                Bundle(BUNDLE, image_size=64).preprocessing,
                image_size=64,
                cache=cache,
                cache_dir=tmp_path / "images",
            )
        assert any(
            isinstance(cause, UnreadableImage) and str(cause).startswith("torn.png: cannot be decoded")
            for cause in exception_chain(error.value)
        )


def test_a_preprocessing_that_uint8_cannot_hold_is_refused(phantoms):
    records = read_datalist(phantoms).records("training")
    steps = list(Bundle(BUNDLE, image_size=64).preprocessing.transforms)
    for last in (steps[:-1], [*steps[:-1], NormalizeIntensityd("image")]):
        with pytest.raises(ValueError, match="must end in NormalizeIntensityd"):
            RadiographDataset(records, Compose(last), image_size=64)
    with pytest.raises(ValueError, match=r"in \[0, 1\] before"):
        RadiographDataset(records, Compose([*steps, steps[-1]]), image_size=64)
    with pytest.raises(ValueError, match="disk, memory"):
        RadiographDataset(records, Compose(steps), image_size=64, cache="none")


def test_early_stop_counts_from_the_best_epoch_even_after_a_resume():
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.best_metric_epoch = 2
    stopped = []
    for start in (0, 3):
        trainer = Engine(lambda engine, batch: None)
        trainer.add_event_handler(
            Events.STARTED, lambda engine, start=start: setattr(engine.state, "epoch", start)
        )
        EarlyStop(evaluator, patience=3).attach(trainer)
        trainer.run([0], max_epochs=20)
        stopped.append(trainer.state.epoch)
    assert stopped == [5, 5]


def test_scores_of_no_images_are_an_error():
    scores = ClassificationScores(["a", "b"])
    scores.reset()
    with pytest.raises(ValueError, match="validation split is empty"):
        scores.compute()


def _average(network, *, decay, steps, averaging=None, start=0):
    """Train for some steps in which the weights are the step's number."""
    averaging = averaging or AverageWeights(network, decay=decay)

    def step(engine, batch):
        for tensor in (*network.parameters(), network.running_mean):
            tensor.data.fill_(batch)

    engine = Engine(step)
    averaging.attach(engine)
    engine.run([float(number) for number in range(start, start + steps)], max_epochs=1)
    return averaging


def test_averaged_weights_and_statistics_follow_the_trained_ones_as_pandas_averages():
    pandas = pytest.importorskip("pandas")
    averaging = _average(torch.nn.BatchNorm1d(1), decay=0.1, steps=40)  # the warm-up starts at 0.1
    expected = pandas.Series(range(40)).ewm(alpha=0.9, adjust=False).mean().iloc[-1]
    kept = averaging.network
    for tensor in (kept.weight, kept.running_mean):
        assert tensor.item() == pytest.approx(expected, rel=1e-5)


def test_a_short_training_does_not_average_in_its_start():
    averaging = _average(torch.nn.BatchNorm1d(1), decay=0.999, steps=30)
    assert averaging.network.weight.item() > 20


def test_an_average_that_is_saved_and_restored_goes_on_as_if_never_interrupted():
    network = torch.nn.BatchNorm1d(1)
    whole = _average(network, decay=0.9, steps=20)
    first = _average(torch.nn.BatchNorm1d(1), decay=0.9, steps=8)
    network = torch.nn.BatchNorm1d(1)
    again = AverageWeights(network, decay=0.9)
    again.load_state_dict(first.state_dict())
    _average(network, decay=0.9, steps=12, averaging=again, start=8)
    assert torch.equal(whole.network.weight, again.network.weight)


def test_without_a_decay_the_trained_network_itself_is_kept():
    network = torch.nn.BatchNorm1d(1)
    averaging = _average(network, decay=0, steps=3)
    assert averaging.network is network
    assert averaging.state_dict() == {}
    with pytest.raises(ValueError, match="ema_decay"):
        AverageWeights(network, decay=1.0)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc")), min_size=1, max_size=60))
def test_drawing_by_source_gives_classes_equal_and_sources_square_root_shares(cells):
    records = [{"label": label, "source": source} for label, source in cells]
    weights = source_weights(records).double().numpy()
    labels = np.array([label for label, _ in cells])
    present = np.unique(labels)
    for label in present:
        assert weights[labels == label].sum() == pytest.approx(1 / len(present), rel=1e-4)
    share = {cell: weights[[cell == other for other in cells]].sum() for cell in cells}
    for one, other in itertools.combinations(share, 2):
        if one[0] == other[0]:
            expected = (cells.count(one) / cells.count(other)) ** 0.5
            assert share[one] / share[other] == pytest.approx(expected, rel=1e-4)


def test_a_weighted_order_follows_the_weights_and_repeats_by_epoch():
    weights = torch.tensor([0.0, 0.2, 0.8])
    images = list(range(3)) * 1000
    parts = [
        EpochSampler(images, weights=weights.repeat(1000), seed=3, rank=rank, world_size=2) for rank in (0, 1)
    ]
    first, second = ([index % 3 for index in part] for part in parts)
    assert len(first) == len(second) == 1500
    assert first != second
    assert 0 not in first
    assert np.mean(np.array(first + second) == 2) == pytest.approx(0.8, abs=0.03)
    assert first == [index % 3 for index in parts[0]]
    parts[0].set_epoch(1)
    assert first != [index % 3 for index in parts[0]]


class _Store:
    """Stands for MLflow's client, whose store cannot be written to."""

    def set_terminated(self, *arguments):
        raise MlflowException("database is locked")


def _tracker(**parts):
    tracker = RunTracker.__new__(RunTracker)  # without opening a store
    vars(tracker).update({"rank": 0, "cur_run": object(), "_run_id": "a", "client": _Store()} | parts)
    return tracker


@pytest.mark.parametrize(("error", "raised"), [(KeyboardInterrupt(), SystemExit), (OSError(), OSError)])
def test_a_store_that_cannot_be_written_to_does_not_hide_why_a_run_ended(caplog, error, raised):
    with pytest.raises(raised):
        _tracker().fail(Engine(lambda engine, batch: None), error)
    assert "could not be marked" in caplog.text
    assert "database is locked" in caplog.text


def test_ctrl_c_has_to_wait_while_an_epoch_is_written_to_the_store():
    def write(metrics, step):
        seen.append(signal.getsignal(signal.SIGINT))

    seen = []
    engine = Engine(lambda engine, batch: None)
    engine.optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    try:
        _tracker(evaluator=engine, _log_metrics=write).epoch_completed(engine)
        assert seen[0] is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
