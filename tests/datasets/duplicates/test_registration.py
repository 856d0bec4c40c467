"""Registration measures how alike two images are once one is laid over the other."""

import cv2
import numpy as np
import pytest

from covid_monai.datasets.duplicates.detection import SAME_IMAGE
from covid_monai.datasets.duplicates.registration import FilteredImage, Placement, image_similarity
from covid_monai.datasets.duplicates.thumbnails import SIDE
from covid_monai.phantoms.radiograph import draw_radiograph


def thumbnail(seed):
    return (draw_radiograph("normal", seed=seed, size=SIDE) * 255).astype(np.uint8)


def similarity(first, second):
    return image_similarity(FilteredImage(first), FilteredImage(second), Placement())


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 1, 0), (1, 1, 0), (0, 1.03, 0), (0, 1, 4)])
def test_a_moved_copy_is_the_same_image(angle, scale, shift):
    image = thumbnail(1)
    warp = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle, scale)
    warp[:, 2] += shift
    moved = cv2.warpAffine(image, warp, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    assert similarity(image, moved) >= SAME_IMAGE


def test_the_image_of_another_person_is_not():
    assert similarity(thumbnail(1), thumbnail(2)) < SAME_IMAGE
