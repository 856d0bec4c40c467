"""Images for training: those of the preprocessing, decoded once; errors with their causes."""

from pathlib import Path

import pytest
import torch
from monai.transforms import Compose, NormalizeIntensityd

from covid_monai.bundle import Bundle
from covid_monai.core.errors import exception_chain
from covid_monai.core.vocabulary import UnreadableImage
from covid_monai.datasets.datalist import read_datalist
from covid_monai.training.batches import PrepareImageBatch
from covid_monai.training.dataset import RadiographDataset, split_normalization

BUNDLE = Path(__file__).parents[2] / "bundles" / "covid_cxr_classification"


@pytest.mark.parametrize("cache", ["disk", "memory"])
def test_batches_are_the_preprocessed_images_to_half_a_grey_level_decoded_once(
    phantoms, tmp_path, monkeypatch, cache
):
    records = read_datalist(phantoms).records("training")
    preprocessing = Bundle(BUNDLE, image_size=64).preprocessing
    decoding, normalization = split_normalization(preprocessing)
    images = RadiographDataset(records, decoding, image_size=64, cache=cache, cache_dir=tmp_path / "images")
    expected = torch.stack([preprocessing({"image": r["image"]})["image"].as_tensor() for r in records])
    monkeypatch.setattr(
        "covid_monai.readers.monai_readers.read_radiograph", lambda _path: pytest.fail("decoded again")
    )
    indices = [5, 0, 5, *range(len(records))]
    batch = images.__getitems__(indices)
    assert type(batch["image"]) is torch.Tensor
    assert batch["label"].tolist() == [records[index]["label"] for index in indices]
    image, _ = PrepareImageBatch([normalization])(batch, "cpu")
    assert (image - expected[indices]).abs().max() * 0.226 * 255 <= 0.5 + 1e-3
    assert torch.equal(images[3]["image"], batch["image"][6])


def test_an_image_that_cannot_be_read_is_named_with_the_cause(phantoms, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    records = [
        *read_datalist(phantoms).records("training"),
        {"image": str(tmp_path / "torn.png"), "label": 0},
    ]
    for cache in ("disk", "memory"):
        with pytest.raises(RuntimeError) as error:
            RadiographDataset(
                records,
                split_normalization(Bundle(BUNDLE, image_size=64).preprocessing)[0],
                image_size=64,
                cache=cache,
                cache_dir=tmp_path / "images",
            )
        assert any(
            isinstance(cause, UnreadableImage) and str(cause).startswith("torn.png: The header is damaged")
            for cause in exception_chain(error.value)
        )


def test_a_preprocessing_that_uint8_cannot_hold_is_refused(phantoms):
    records = read_datalist(phantoms).records("training")
    steps = list(Bundle(BUNDLE, image_size=64).preprocessing.transforms)
    for last in (steps[:-1], [*steps[:-1], NormalizeIntensityd("image")]):
        with pytest.raises(ValueError, match="must end in NormalizeIntensityd"):
            split_normalization(Compose(last))
    decoding, _ = split_normalization(Compose([*steps, steps[-1]]))
    with pytest.raises(ValueError, match=r"in \[0, 1\] before"):
        RadiographDataset(records, decoding, image_size=64)
    with pytest.raises(ValueError, match="disk, memory"):
        RadiographDataset(records, Compose(steps), image_size=64, cache="none")
