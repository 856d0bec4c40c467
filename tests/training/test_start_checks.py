"""Settings and splits with which nothing would be learned, chosen or kept are refused, each by name."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from covid_monai.training.start_checks import check_records, check_settings

CONFIG = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification" / "configs" / "train.yaml"
CPU = torch.device("cpu")


def check(device=CPU, **settings):
    parser = ConfigParser()
    parser.read_config(CONFIG)
    parser.update(settings)
    check_settings(parser.get_parsed_content("settings::resolved_ids"), device)


def test_the_defaults_and_other_good_values_are_taken():
    check()
    check(max_epochs=1, val_interval=1, patience=0, ema_decay=0, max_norm=0, weight_decay=0, resume="True")
    check(
        learning_rate=1, num_workers=3, cpu_threads=None, cache="memory", label_smoothing=0.0, image_size=32
    )
    check(max_epochs="$2 * 3", val_interval=4)  # an expression is known when it is used


WHOLE = ["max_epochs", "val_interval", "batch_size", "image_size", "seed", "patience", "freeze_epochs"]
WHOLE += ["num_workers", "cpu_threads", "world_size", "rank"]
NUMBERS = ["learning_rate", "weight_decay", "max_norm", "backbone_factor", "label_smoothing", "ema_decay"]
NUMBERS += ["border_probability", "flip_probability"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(WHOLE, [-1, 1.5, True, "three", (1, 2), math.nan]),
        *itertools.product(["max_epochs", "val_interval", "batch_size", "world_size"], [0, None]),
        *(("num_workers", 0), ("cpu_threads", 0)),
        *itertools.product(["image_size"], [0, 1, 31, 64.0, None]),
        *itertools.product(NUMBERS, [-0.1, math.nan, math.inf, True, None, "much"]),
        *itertools.product(["label_smoothing", "ema_decay"], [1, 1.5]),
        *(("learning_rate", 0), ("flip_probability", 1.1), ("border_probability", 2)),
        *(("precision", "bf32"), ("precision", None), ("cache", "ram"), ("balance", "class")),
        *itertools.product(["resume"], ["yes", "no", 1, None]),
    ],
)
def test_a_worthless_value_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        check(**{name: value})


def test_all_wrong_values_are_named_at_once():
    with pytest.raises(ValueError, match=r"max_epochs is 0.*learning_rate is -1.*Did you mean 'bf16'"):
        check(max_epochs=0, learning_rate=-1, precision="bf61")


@pytest.mark.parametrize(("epochs", "interval"), [(1, 2), (2, 3), (12, 100)])
def test_a_training_without_a_validation_is_refused(epochs, interval):
    with pytest.raises(
        ValueError, match=f"val_interval is {interval} and max_epochs is {epochs}.*keep no weights"
    ):
        check(max_epochs=epochs, val_interval=interval)


def test_a_training_that_would_stop_before_its_second_validation_is_refused():
    with pytest.raises(ValueError, match=r"patience is 3 and val_interval is 4, .*second validation"):
        check(patience=3, val_interval=4)
    check(patience=4, val_interval=4)
    check(patience=0, val_interval=4)


def test_what_yaml_reads_as_a_word_is_explained():
    with pytest.raises(ValueError, match=r"learning_rate is '1e-3'\. Give a number above 0\. .*write 0\.001"):
        check(learning_rate="1e-3")


@pytest.mark.parametrize("device", ["cuda:99", "cuda:127"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ValueError, match=f"device is {device}, which PyTorch does not find"):
        check(torch.device(device))


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match="precision is fp16, which needs CUDA"):
        check(precision="fp16")


def records(*cells):
    return [{"label": label, "patient": patient} for label, patient in cells]


GOOD = records((0, "a"), (1, "b"))


def check_data(train=GOOD, val=GOOD, classes=("a", "b"), **more):
    check_records(train, val, class_names=classes, **({"batch_size": 2} | more))


def test_splits_that_cannot_train_are_refused_by_class_and_with_a_way_out(caplog):
    check_data(world_size=2, batch_size=1)
    with pytest.raises(ValueError, match=r"training split has no image of class b\. .*--classes"):
        check_data(train=records((0, "a"), (0, "b")))
    with pytest.raises(ValueError, match=r"training split has no image of class b\. .*--classes"):
        check_data(train=[{"label": 0}])
    with pytest.raises(ValueError, match=r"validation split has no image of class b\."):
        check_data(val=records((0, "a"), (0, "b")) * 5)
    with pytest.raises(
        ValueError, match=r"validation split has no image of class a, b\..*--validation-fraction"
    ):
        check_data(val=[])
    with pytest.raises(ValueError, match="2 images for 3 processes"):
        check_data(world_size=3)
    with pytest.raises(ValueError, match="one class only, a,"):
        check_data(train=records((0, "a")), val=records((0, "b")), classes=("a",))
    assert not caplog.text


@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_split_of_one_patient_is_refused(split):
    one = records((0, "a"), (1, "a"), (0, "a"))
    with pytest.raises(ValueError, match=f"All images of the {split} split show one patient"):
        check_data(**{"train" if split == "training" else "val": one})


def test_a_batch_that_is_larger_than_the_split_is_warned_of(caplog):
    check_data(batch_size=3)
    assert "2 images per process, fewer than one batch of 3" in caplog.text


def test_a_share_of_adults_that_no_draw_would_use_is_refused():
    with pytest.raises(ValueError, match=r"adult_share is 0.7, and balance is classes.*Choose balance"):
        check(adult_share=0.7, balance="classes")
    check(adult_share=0.7, balance="sources")
    check(adult_share=0.0, balance="classes")
