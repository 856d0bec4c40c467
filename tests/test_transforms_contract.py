"""What every transform promises: container, dtype and metadata kept, input untouched, usable in pipelines."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, MapTransform, Randomizable, Transform

from covid_monai import transforms

RANDOM = ["RandExposure"]
DETERMINISTIC = ["CLAHE", "CropBorder", "PercentileRescale"]
RADIOGRAPH = RANDOM + DETERMINISTIC
CONTAINERS = {
    "numpy": lambda pixels: pixels.copy(),
    "tensor": lambda pixels: torch.from_numpy(pixels.copy()),
    "metatensor": lambda pixels: MetaTensor(
        torch.from_numpy(pixels.copy()), meta={"filename_or_obj": "a.dcm"}
    ),
}


def make(name, *args, **options):
    if name in RANDOM or name.removesuffix("d") in RANDOM:
        options = {"prob": 1.0, **options}
    return getattr(transforms, name)(*args, **options)


def film(height=80, width=96, channels=1, seed=0):
    return np.random.RandomState(seed).uniform(0.15, 0.85, (channels, height, width)).astype(np.float32)


images = st.builds(film, st.integers(65, 120), st.integers(65, 120), st.integers(1, 2), st.integers(0, 10**6))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", [*RADIOGRAPH, "LungWindow"])
def test_container_and_metadata_are_kept(name, container):
    image = CONTAINERS[container](film())
    output = make(name)(image)
    assert type(output) is type(image)
    assert output.dtype == image.dtype
    assert tuple(output.shape) == tuple(image.shape)
    if container == "metatensor":
        assert output.meta["filename_or_obj"] == "a.dcm"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", RADIOGRAPH)
def test_floating_dtypes_are_kept(name, dtype):
    output = make(name)(torch.from_numpy(film()).to(dtype))
    assert output.dtype == dtype
    assert 0 <= output.min() <= output.max() <= 1


@pytest.mark.parametrize("name", [*RANDOM, "CLAHE", "CropBorder"])
def test_integers_are_refused_with_a_way_out(name):
    with pytest.raises(ValueError, match=rf"{name} needs floating-point.*uint8.*ScaleIntensity"):
        make(name)(np.zeros((1, 80, 80), dtype=np.uint8))


@pytest.mark.parametrize("name", RADIOGRAPH)
@settings(max_examples=20, deadline=None)
@given(pixels=images)
def test_range_shape_and_no_mutation(name, pixels):
    before = pixels.copy()
    output = make(name)(pixels)
    np.testing.assert_array_equal(pixels, before)
    assert output.shape == before.shape  # no frame here, so CropBorder keeps the size too
    assert output.min() >= 0
    assert output.max() <= 1


@pytest.mark.parametrize("name", RADIOGRAPH)
def test_flipped_and_read_only_arrays_work(name):
    pixels = film()[..., ::-1]
    expected = make(name).set_random_state(3)(pixels.copy()) if name in RANDOM else make(name)(pixels.copy())
    pixels.flags.writeable = False
    actual = make(name).set_random_state(3)(pixels) if name in RANDOM else make(name)(pixels)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("name", [*RADIOGRAPH, "LungWindow"])
def test_dictionary_class_agrees_with_array_class(name):
    array, dictionary = make(name), make(f"{name}d", ["image", "prior"])
    if name in RANDOM:
        array.set_random_state(5)
        dictionary.set_random_state(5)
    data = {"image": film(), "prior": film(seed=1), "label": 2}
    output = dictionary(data)
    np.testing.assert_array_equal(output["image"], array(data["image"]))
    replay = {"randomize": False} if name in RANDOM else {}
    np.testing.assert_array_equal(output["prior"], array(data["prior"], **replay))
    assert output["label"] == 2
    np.testing.assert_array_equal(data["image"], film())


@pytest.mark.parametrize("name", [*RADIOGRAPH, "LungWindow"])
def test_missing_keys(name):
    data = {"image": film()}
    with pytest.raises(KeyError, match="other"):
        make(f"{name}d", ["image", "other"])(data)
    output = make(f"{name}d", ["image", "other"], allow_missing_keys=True)(data)
    assert set(output) == {"image"}
    assert make(f"{name}d", ["other"], allow_missing_keys=True)({"label": 1}) == {"label": 1}


@pytest.mark.parametrize("name", [*RADIOGRAPH, "LungWindow"])
def test_classes_are_monai_transforms_and_pickle(name):
    array, dictionary = make(name), make(f"{name}d", "image")
    assert isinstance(array, Transform) and array.backend
    assert isinstance(dictionary, MapTransform) and dictionary.backend
    assert isinstance(dictionary, Randomizable) == (name in RANDOM)
    if name in RANDOM:
        dictionary.set_random_state(0)
    copy = pickle.loads(pickle.dumps(dictionary))
    np.testing.assert_array_equal(copy({"image": film()})["image"], dictionary({"image": film()})["image"])


@pytest.mark.parametrize("suffix", ["", "d"])
@pytest.mark.parametrize("name", RANDOM)
def test_seed_decides_the_draws(name, suffix):
    def draws(seed):
        transform = make(name + suffix, *(["image"] if suffix else []), prob=0.7).set_random_state(seed)
        outputs = [transform({"image": film()} if suffix else film()) for _ in range(12)]
        return np.stack([output["image"] if suffix else output for output in outputs])

    np.testing.assert_array_equal(draws(1), draws(1))
    assert not np.array_equal(draws(1), draws(2))
    untouched = [np.array_equal(output, film()) for output in draws(1)]
    assert 0 < sum(untouched) < 12


@pytest.mark.parametrize("name", RANDOM)
def test_replay_repeats_the_last_draw(name):
    transform = make(name, prob=0.5).set_random_state(0)
    image = film()
    for _ in range(10):
        first = transform(image)
        np.testing.assert_array_equal(transform(image, randomize=False), first)


@pytest.mark.parametrize("name", RANDOM)
def test_replay_without_a_draw_and_skipping_return_the_image_itself(name):
    image = film()
    assert make(name)(image, randomize=False) is image
    assert make(name, prob=0.0)(image) is image


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("prob", [-0.1, 1.1])
def test_probability_is_checked(name, prob):
    with pytest.raises(ValueError, match="prob must lie in"):
        make(name, prob=prob)


def augmentation():
    return Compose([make(f"{name}d", "image") for name in RANDOM])


def test_compose_is_reproducible_under_a_seed():
    def outputs(seed):
        compose = augmentation().set_random_state(seed)
        return np.stack([compose({"image": film()})["image"] for _ in range(6)])

    np.testing.assert_array_equal(outputs(7), outputs(7))
    assert not np.array_equal(outputs(7), outputs(8))


def test_data_loader_worker_draws_anew_for_each_image():
    dataset = Dataset([{"image": film()} for _ in range(8)], augmentation())

    def epoch():
        torch.manual_seed(0)  # the worker's seeds derive from it
        return torch.cat([batch["image"] for batch in DataLoader(dataset, batch_size=4, num_workers=1)])

    first = epoch()
    assert first.shape == (8, 1, 80, 96)
    assert len({image.numpy().tobytes() for image in first}) == 8
    assert torch.equal(epoch(), first)
