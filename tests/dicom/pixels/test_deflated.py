"""Deflated images: read as others are, and never inflated beyond the limit."""

import numpy as np
import pytest
from dicom_helpers import make_ds, picture, save
from hostile_files import deflate_bomb, deflated

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.readers import read_radiograph


def test_a_deflated_image_is_read_and_a_damaged_one_is_unreadable(tmp_path):
    image, _ = read_radiograph(deflated(tmp_path / "good.dcm"))
    plain, _ = read_radiograph(save(make_ds(picture()), tmp_path / "plain.dcm"))
    assert np.array_equal(image, plain)
    with pytest.raises(UnreadableImage, match=r"cut.dcm"):
        read_radiograph(deflated(tmp_path / "cut.dcm", cut=2000))


def test_a_deflate_bomb_is_refused_before_it_is_inflated(tmp_path):
    with pytest.raises(RefusedImage, match="inflates to more than") as caught:
        read_radiograph(deflate_bomb(tmp_path / "bomb.dcm"))
    assert caught.value.reason is RefusalReason.TOO_LARGE
