"""The search for writing finds planted names, and raises few alarms on images without writing."""

import cv2
import numpy as np
import pytest
from deidentify_helpers import images, written_on

from covid_monai.deidentify.text_detection import has_text

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("height", [12, 16, 24])
@pytest.mark.parametrize("tone", [0, 255])
def test_a_written_name_is_found_at_every_usual_size_in_either_tone(height, tone):
    name = "MUSTERMANN^ERIKA 1961"
    found = [has_text(written_on(each, name, height=height, at=(8, 300), tone=tone)) for each in images(12)]
    assert np.mean(found) >= 0.9, np.mean(found)


@pytest.mark.parametrize("words", ["L", "R", "PA", "AP"])
def test_side_and_view_markers_alone_are_no_writing(words):
    found = [
        has_text(written_on(each, words, height=height)) for each in images(6) for height in (16, 32, 64)
    ]
    assert not any(found)


def test_images_without_writing_raise_no_alarm():
    assert not any(has_text(each) for each in images(12))


@pytest.mark.slow
def test_on_real_images_a_planted_name_is_found_and_few_of_them_raise_an_alarm(real_data):
    """Children's images of one hospital; of the few alarms most are burned-in times of day."""
    sample = sorted((real_data / "chest_xray" / "test" / "NORMAL").iterdir())[::2]
    read = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sample]
    assert len(read) >= 100
    assert np.mean([has_text(each) for each in read]) <= 0.15
    black = [cv2.copyMakeBorder(each, 0, 24, 0, 0, cv2.BORDER_CONSTANT) for each in read]
    named = [written_on(each, "DOE^JANE 1961", height=12, at=(8, each.shape[0] - 20)) for each in black]
    assert np.mean([has_text(each) for each in named]) >= 0.95
