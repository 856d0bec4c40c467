"""The training source that an image resembles: distances against SciPy, what the note says."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from covid_monai.gate.sources import UNLIKE_ALL, TrainingSources

MEANS = np.array([[0.0, 0.0], [4.0, 0.0]])
PRECISION = np.array([[2.0, -0.5], [-0.5, 1.0]])


def sources(**changes):
    fitted = {"means": MEANS, "scale": np.array([1.0, 2.0]), "precision": PRECISION, "limits": np.ones(2)}
    return TrainingSources(
        ("kermany", "ieee8023"), **(fitted | {"resembled_when_left_out": (0.884, 0.98)} | changes)
    )


def test_the_distance_is_the_one_of_scipy():
    point = np.array([1.5, -3.0])
    scale = np.array([1.0, 2.0])
    expected = [mahalanobis(point / scale, mean / scale, PRECISION) / np.sqrt(2) for mean in MEANS]
    np.testing.assert_allclose(sources().distances(point), expected)
    np.testing.assert_allclose(sources().distances(np.stack([point, point]))[1], expected)


def test_the_nearest_of_the_sources_that_an_image_resembles_is_named_with_a_caution():
    shift = sources().note(np.array([0.1, 0.1]))
    assert (shift["nearest"], shift["like_training"]) == ("kermany", True)
    assert shift["note"] == (
        "The image resembles the training images of kermany, as did 88 % to 98 % of the images of a source "
        "that was left out on trial."
    )
    # Nearer to the first source, but beyond its limit: the second one is resembled.
    wide = sources(limits=np.array([0.1, 9.0])).note(np.array([1.0, 0.0]))
    assert wide["nearest"] == "ieee8023"


def test_an_image_beyond_every_limit_is_unlike_all():
    shift = sources().note(np.array([50.0, 50.0]))
    assert shift == {"nearest": None, "like_training": False, "note": UNLIKE_ALL}


def test_with_one_source_nothing_could_be_left_out_and_the_note_says_so():
    alone = TrainingSources(
        *(("csv",), MEANS[:1], np.ones(2), PRECISION, np.ones(1)), resembled_when_left_out=None
    )
    assert alone.note(MEANS[0])["note"].endswith("of csv; images of other hospitals may do so, too.")


@pytest.mark.parametrize("point", [[np.nan, 0.0], [1e300, 1e300]])
def test_a_descriptor_that_is_no_number_resembles_nothing(point):
    with np.errstate(all="ignore"):
        assert not sources().note(np.array(point))["like_training"]
