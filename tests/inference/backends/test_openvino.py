"""The network in OpenVINO: says what PyTorch says, one image at a time, without telling anybody."""

import sys

import numpy as np
import pytest
from backend_helpers import expected, load, network_inputs

from covid_monai.bundle import Bundle
from covid_monai.inference.backends import openvino


def test_other_images_of_a_batch_change_nothing(bundle):
    network = load("openvino", bundle)
    together = network(network_inputs())
    np.testing.assert_array_equal(
        np.concatenate([network(image[None]) for image in network_inputs()]), together
    )
    np.testing.assert_array_equal(network(network_inputs()[::-1].copy()), together[::-1])


def test_a_network_is_converted_once_and_nobody_is_told(bundle, empty_cache, monkeypatch):
    first = load("openvino", bundle)(network_inputs())
    assert "openvino_telemetry" not in sys.modules
    (kept,) = (empty_cache / "networks").iterdir()
    monkeypatch.setattr(Bundle, "load_network", lambda *_: pytest.fail("converted again"))
    np.testing.assert_array_equal(load("openvino", bundle)(network_inputs()), first)
    assert [kept] == list((empty_cache / "networks").iterdir())


def test_the_network_says_what_pytorch_says_in_float32(bundle):
    network = openvino.load(bundle, parallel=2)
    for number in (1, 2, 7):
        found = network(network_inputs(number))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected(bundle, network_inputs(number)), atol=1e-4)


def test_a_result_is_not_overwritten_by_the_next(bundle):
    network = openvino.load(bundle, parallel=1)
    first, second = network_inputs(2)
    alone = network(first[None])
    kept = alone.copy()
    network(second[None])
    np.testing.assert_array_equal(alone, kept)


def test_more_at_the_same_time_changes_nothing(bundle):
    found = [openvino.load(bundle, parallel=parallel)(network_inputs()) for parallel in (1, 3)]
    np.testing.assert_array_equal(*found)


@pytest.mark.slow
def test_a_kept_network_of_another_version_is_not_taken(bundle, empty_cache, monkeypatch):
    openvino.load(bundle, parallel=1)
    monkeypatch.setattr(openvino, "__version__", "another")
    openvino.load(bundle, parallel=1)
    assert len(list((empty_cache / "networks").iterdir())) == 2


def test_the_missing_extra_is_named(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"pip install 'covid-monai\[fast\]'"):
        openvino.load(bundle, parallel=1)
