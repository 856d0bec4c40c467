"""Heat map and outlines: at the right place of the image, as DCMTK shows them."""

import shutil

import cv2
import numpy as np
import pydicom
import pytest
from dicom_helpers import lut_item, make_ds, picture, save
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, Resized, ResizeWithPadOrCropd, Rotate90d
from PIL import Image
from results_helpers import MADE, NEEDS_DCMTK, classified, run, small_classifier
from torch import nn

from covid_monai.inference.grad_cam import HeatmapGenerator, ImageWithHeatmap, affine_to_image
from covid_monai.readers import read_radiograph
from covid_monai.results import ResultObjects, write_results
from covid_monai.results.dicom.presentation_state import trace_outlines
from covid_monai.results.rendering import LONG_SIDE, render_heatmap_with_legend, resample_heat
from covid_monai.transforms import CropBorderd

SPOT = 32  # pixels wide, at least


class Brightness(nn.Module):
    """A network whose only evidence, for its last class, is how bright a place is."""

    def __init__(self):
        super().__init__()
        self.layer4 = nn.Sequential(nn.AvgPool2d(2), nn.ReLU())

    def forward(self, images):
        bright = self.layer4(images).mean(dim=(1, 2, 3))
        return bright[:, None] * images.new_tensor([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    classifier = small_classifier(tmp_path_factory.mktemp("bundle"))
    classifier._heatmap = HeatmapGenerator(Brightness())
    return classifier


def image_with_spot(rows, columns, row, column):
    """A dark image with one bright square around (row, column)."""
    pixels = np.linspace(20, 60, rows).astype(np.uint8)[:, None].repeat(columns, axis=1)
    half = max(SPOT, rows // 10) // 2
    pixels[row - half : row + half, column - half : column + half] = 255
    return pixels


def centre_of(curve):
    """Middle (column, row) of a closed curve."""
    return (curve.min(axis=0) + curve.max(axis=0)) / 2


# The last is read at a third of its size for the network, and shown whole.
PLACES = [
    (300, 200, 60, 150),
    (200, 300, 150, 40),
    (256, 256, 20, 236),
    (400, 130, 370, 20),
    (1201, 790, 240, 600),
]


@pytest.mark.parametrize(("rows", "columns", "row", "column"), PLACES)
def test_a_bright_spot_is_outlined_where_it_is(classifier, tmp_path, rows, columns, row, column):
    image = save(make_ds(image_with_spot(rows, columns, row, column)), tmp_path / "image.dcm")
    explained = classifier.explain(image, "covid")
    tolerance = max(rows, columns) / 64  # a pixel of the network's input
    found = [centre_of(curve) for curve in trace_outlines(explained, 0.75)]
    assert len(found) == 1
    np.testing.assert_allclose(found[0], (column, row), atol=tolerance)
    heat = resample_heat(explained, (rows, columns))
    hot = np.argwhere(heat > 0.75).mean(axis=0) + 0.5
    np.testing.assert_allclose(hot, (row, column), atol=tolerance)


@pytest.mark.parametrize(("rows", "columns", "row", "column"), PLACES)
def test_the_presentation_state_has_the_spot_in_pixels_of_the_image(
    classifier, tmp_path, rows, columns, row, column
):
    image = save(make_ds(image_with_spot(rows, columns, row, column)), tmp_path / "image.dcm")
    state = ResultObjects(classifier).of(classified(classifier, image), MADE)[2]
    (annotation,) = (a for a in state.GraphicAnnotationSequence if a.GraphicLayer == "HEAT 75 PERCENT")
    (graphic,) = annotation.GraphicObjectSequence
    assert graphic.GraphicAnnotationUnits == "PIXEL"
    curve = np.reshape(graphic.GraphicData, (-1, 2))
    np.testing.assert_allclose(centre_of(curve), (column, row), atol=max(rows, columns) / 64)
    assert (
        annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID
        == pydicom.dcmread(image).SOPInstanceUID
    )


STEPS = {
    "resize": [Resized("image", (64, 64), mode="area")],
    "crop": [CropBorderd("image"), Resized("image", (64, 64), mode="area")],
    "pad": [ResizeWithPadOrCropd("image", (320, 320)), Resized("image", (64, 64), mode="area")],
    "flip": [Flipd("image", 1), Resized("image", (64, 96), mode="area")],
    "turn": [Rotate90d("image"), Resized("image", (64, 64), mode="area")],
}


@pytest.mark.parametrize("name", STEPS)
def test_whatever_the_preprocessing_the_spot_lies_where_it_was(name):
    pixels = image_with_spot(300, 200, 90, 140) / np.float32(255)
    if name == "crop":
        pixels = np.pad(pixels, ((40, 0), (0, 30)))
    place = (90 + 40 * (name == "crop"), 140)
    radiograph = MetaTensor(pixels[None], affine=np.diag([0.2, 0.1, 1, 1]))
    image = Compose(STEPS[name])({"image": radiograph})["image"]
    explained = ImageWithHeatmap(
        pixels, image[0].numpy(), affine_to_image(np.asarray(radiograph.affine), image)
    )
    hot = np.argwhere(resample_heat(explained, pixels.shape) > 0.5).mean(axis=0) + 0.5
    np.testing.assert_allclose(hot, place, atol=3.5)
    (curve,) = trace_outlines(explained, 0.5)
    np.testing.assert_allclose(centre_of(curve), place[::-1], atol=3.5)


@given(
    st.integers(64, 700), st.integers(64, 700), st.floats(0.0, 1.0), st.floats(0.0, 1.0)
)  # fmt: skip
def test_resizing_by_opencv_agrees(rows, columns, down, right):
    """A map over the whole image is what any resize makes of it, away from the outermost pixels."""
    heat = np.zeros((16, 16), np.float32)
    heat[int(down * 15), int(right * 15)] = 1
    scale = np.diag([rows / 16, columns / 16, 1.0])
    scale[:2, 2] = np.array([rows / 16 - 1, columns / 16 - 1]) / 2
    explained = ImageWithHeatmap(np.zeros((rows, columns), np.float32), heat, scale)
    expected = cv2.resize(heat, (columns, rows), interpolation=cv2.INTER_LINEAR)
    # OpenCV works out places in 1/32 of a pixel.
    np.testing.assert_allclose(resample_heat(explained, (rows, columns)), expected, atol=0.06)


def test_a_image_without_evidence_has_a_note_and_no_outline(classifier, tmp_path):
    image = save(make_ds(picture()), tmp_path / "image.dcm")
    explained = classifier.explain(image, "normal")  # has no evidence in this network
    assert not explained.heat.any()
    assert trace_outlines(explained, 0.5) == []
    state = ResultObjects(classifier).of(classified(classifier, image, decided="normal"), MADE)[2]
    assert [annotation.GraphicLayer for annotation in state.GraphicAnnotationSequence] == ["NOTE"]


@pytest.mark.parametrize("shape", [(64, 250), (250, 64), (1500, 1100)])
def test_the_picture_is_bounded_and_keeps_the_aspect_ratio(classifier, shape):
    explained = ImageWithHeatmap(np.zeros(shape, np.float32), np.zeros((8, 8), np.float32), np.eye(3))
    height, width, _ = render_heatmap_with_legend(explained, classified(classifier, "image.dcm")).shape
    image = (round(shape[0] * LONG_SIDE / max(shape)), round(shape[1] * LONG_SIDE / max(shape)))
    assert width - image[1] == 360
    assert height == max(image[0], 720)


@NEEDS_DCMTK
def test_dcmtk_shows_the_heat_map_as_it_was_drawn(classifier, tmp_path):
    image = save(make_ds(image_with_spot(300, 200, 60, 150)), tmp_path / "image.dcm")
    heatmap = ResultObjects(classifier).of(classified(classifier, image), MADE)[1]
    (path,) = write_results([heatmap], tmp_path / "out")
    run("dcmj2pnm", "+on", path, tmp_path / "shown.png")
    shown = np.asarray(Image.open(tmp_path / "shown.png").convert("RGB"))
    np.testing.assert_array_equal(shown, heatmap.pixel_array)
    colour = np.ptp(shown[:, :683].astype(int), axis=2)  # of the image: grey but where it is hot
    hot = np.argwhere(colour > 0.8 * colour.max()).mean(axis=0) / LONG_SIDE * 300
    np.testing.assert_allclose(hot, (60, 150), atol=6)


GREY = {
    "window": {"WindowCenter": "1500", "WindowWidth": "2600"},
    "exact": {"WindowCenter": "1500", "WindowWidth": "2600", "VOILUTFunction": "LINEAR_EXACT"},
    "rescale": {
        "WindowCenter": "1900",
        "WindowWidth": "2600",
        "RescaleSlope": "2",
        "RescaleIntercept": "-1000",
    },
}
LAST = 4095  # of the inputs of a table
for name, (first, *more) in {
    "unsigned": (0, {}),
    "signed": (-2048, {"PixelRepresentation": 1}),
    "rescaled": (-1024, {"RescaleSlope": "1", "RescaleIntercept": "-1024"}),
}.items():
    for direction in (1, -1):
        entries = np.arange(LAST + 1)[::direction] ** 2 // LAST
        item = lut_item(entries, first=first, bits=12)
        GREY[f"VOI LUT {name} {direction}"] = {"VOILUTSequence": [item], **more[0]}
        if name != "rescaled":
            window = {"WindowCenter": "2048", "WindowWidth": "3000", **more[0]}
            GREY[f"Modality LUT {name} {direction}"] = {"ModalityLUTSequence": [item], **window}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="needs DCMTK's dcmp2pgm")
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("name", GREY)
def test_through_the_presentation_state_dcmtk_shows_the_image_as_the_readers_do(
    classifier, tmp_path, name, photometric
):
    pixels = picture(top=4095, dtype=np.uint16)
    if "PixelRepresentation" in GREY[name]:
        pixels = (pixels.astype(int) - 2048).astype(np.int16)
    elements = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "Modality": "CR", **GREY[name]}
    image = save(make_ds(pixels, photometric=photometric, bits_stored=12, **elements), tmp_path / "image.dcm")
    state = ResultObjects(classifier).of(classified(classifier, image), MADE)[2]
    (path,) = write_results([state], tmp_path / "out")
    run("dcmp2pgm", "-p", path, image, tmp_path / "shown.pgm")
    shown = np.asarray(Image.open(tmp_path / "shown.pgm")).astype(float) / 255
    np.testing.assert_allclose(shown, read_radiograph(image)[0][0], atol=0.01)
