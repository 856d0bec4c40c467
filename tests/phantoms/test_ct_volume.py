"""Drawn CT volumes: anatomy in Hounsfield units."""

import numpy as np

from covid_monai.phantoms.ct_volume import draw_volume


def test_ct_anatomy_in_hounsfield_units():
    normal = draw_volume("normal", seed=3)
    right, left = normal[70, 48, 24], normal[26, 40, 24]
    assert abs(right + 850) < 80
    assert abs(left + 850) < 80
    assert normal[48, 27, 20] > 250, "the spine lies behind (low y)"
    assert (normal[20:48, 56, 14] > -100).sum() > (normal[48:76, 56, 14] > -100).sum(), "heart on the left"
    added = {
        name: draw_volume(name, seed=3)[draw_volume(name, seed=3) != normal]
        for name in ("pneumonia", "covid")
    }
    assert abs(np.median(added["covid"]) + 500) < 20
    assert abs(np.median(added["pneumonia"]) + 30) < 20
