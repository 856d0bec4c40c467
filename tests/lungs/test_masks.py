"""Mask files: read with the right sizes, written the right way round by the bundle's own steps."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from covid_monai.lungs.masks import SaveMaskd, WholeMaskd, read_mask


def test_a_mask_is_read_as_shares_of_lung(tmp_path):
    mask = np.zeros((64, 128), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask > 0).save(tmp_path / "mask.png")  # one bit per pixel, as public masks have
    read = read_mask(tmp_path / "mask.png", size=32)
    assert read.dtype == torch.uint8
    assert np.array_equal(read[0].numpy() == 255, np.tile(np.arange(32) < 8, (32, 1)))
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        read_mask(tmp_path / "broken.png", size=32)


def test_the_mask_of_a_whole_image_is_written_with_its_rows_and_columns(tmp_path):
    logits = torch.zeros(2, 8, 8)
    logits[1] = -1
    logits[1, :2, 4:] = 1  # lungs in the upper right quarter of a wide image
    image = MetaTensor(
        torch.zeros(1, 8, 8), meta={"spatial_shape": np.array([40, 80]), "filename_or_obj": "a.dcm"}
    )
    done = WholeMaskd()({"image": image, "pred": MetaTensor(logits)})
    assert "spatial_shape" not in done["image"].meta  # MONAI Label would stretch the mask again
    assert done["pred"].shape == (80, 40)  # columns first, as MONAI Label writes
    SaveMaskd(str(tmp_path))(done)
    written = np.asarray(Image.open(tmp_path / "a_lungs.png"))
    assert written.shape == (40, 80)
    assert written[2, 70] == 255
    assert written[30, 70] == written[2, 10] == written[38, 10] == 0
