"""What every transform promises: container, dtype and metadata kept, input untouched, usable in pipelines."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from covid_monai import transforms

RADIOGRAPH = ["CropBorder", "PercentileRescale"]
CONTAINERS = {
    "numpy": lambda pixels: pixels.copy(),
    "tensor": lambda pixels: torch.from_numpy(pixels.copy()),
    "metatensor": lambda pixels: MetaTensor(
        torch.from_numpy(pixels.copy()), meta={"filename_or_obj": "a.dcm"}
    ),
}


def make(name, *args, **options):
    return getattr(transforms, name)(*args, **options)


def make_image(height=80, width=96, channels=1, seed=0):
    return np.random.RandomState(seed).uniform(0.15, 0.85, (channels, height, width)).astype(np.float32)


images = st.builds(
    make_image, st.integers(65, 120), st.integers(65, 120), st.integers(1, 2), st.integers(0, 10**6)
)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", [*RADIOGRAPH, "LungWindow"])
def test_container_and_metadata_are_kept(name, container):
    image = CONTAINERS[container](make_image())
    output = make(name)(image)
    assert type(output) is type(image)
    assert output.dtype == image.dtype
    assert tuple(output.shape) == tuple(image.shape)
    if container == "metatensor":
        assert output.meta["filename_or_obj"] == "a.dcm"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", RADIOGRAPH)
def test_floating_dtypes_are_kept(name, dtype):
    output = make(name)(torch.from_numpy(make_image()).to(dtype))
    assert output.dtype == dtype
    assert 0 <= output.min() <= output.max() <= 1


def test_integers_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"CropBorder needs floating-point.*uint8.*ScaleIntensity"):
        make("CropBorder")(np.zeros((1, 80, 80), dtype=np.uint8))


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
    pixels = make_image()[..., ::-1]
    expected = make(name)(pixels.copy())
    pixels.flags.writeable = False
    np.testing.assert_array_equal(make(name)(pixels), expected)


@pytest.mark.parametrize("name", [*RADIOGRAPH, "LungWindow"])
def test_dictionary_class_agrees_with_array_class(name):
    array, dictionary = make(name), make(f"{name}d", ["image", "prior"])
    data = {"image": make_image(), "prior": make_image(seed=1), "label": 2}
    output = dictionary(data)
    np.testing.assert_array_equal(output["image"], array(data["image"]))
    np.testing.assert_array_equal(output["prior"], array(data["prior"]))
    assert output["label"] == 2
    np.testing.assert_array_equal(data["image"], make_image())


@pytest.mark.parametrize("name", [*RADIOGRAPH, "LungWindow"])
def test_missing_keys(name):
    data = {"image": make_image()}
    with pytest.raises(KeyError, match="other"):
        make(f"{name}d", ["image", "other"])(data)
    output = make(f"{name}d", ["image", "other"], allow_missing_keys=True)(data)
    assert set(output) == {"image"}
    assert make(f"{name}d", ["other"], allow_missing_keys=True)({"label": 1}) == {"label": 1}


@pytest.mark.parametrize("name", [*RADIOGRAPH, "LungWindow"])
def test_classes_are_monai_transforms_and_pickle(name):
    array, dictionary = make(name), make(f"{name}d", "image")
    assert isinstance(array, Transform)
    assert array.backend
    assert isinstance(dictionary, MapTransform)
    assert dictionary.backend
    copy = pickle.loads(pickle.dumps(dictionary))
    np.testing.assert_array_equal(
        copy({"image": make_image()})["image"], dictionary({"image": make_image()})["image"]
    )
