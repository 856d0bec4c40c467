"""The outlines of the heat map as a presentation state."""

import numpy as np
import pytest
from dicom_helpers import lut_item, make_ds, picture, save
from results_helpers import MADE, classified

from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.results import ObjectKind
from covid_monai.results.dicom.presentation_state import (
    make_presentation_state,
    may_have_presentation_state,
    trace_outlines,
)
from covid_monai.results.dicom.result_series import ResultSeries
from covid_monai.results.dicom.source_radiograph import read_source


def test_a_image_stored_in_colour_has_no_presentation_state(results, classifier, tmp_path):
    pixels = picture()[..., None].repeat(3, axis=2)
    image = save(
        make_ds(pixels, sop_class="1.2.840.10008.5.1.4.1.1.7", photometric="RGB"), tmp_path / "a.dcm"
    )
    assert [ds.Modality for ds in results.of(classified(classifier, image), MADE)] == ["SR", "OT", "DOC"]


MODEL = {"version": "1.0", "weights_sha256": "0" * 64}


def explained(shape=(96, 128), *, heat):
    """Heat on a grid of 24 x 32, each pixel of which covers 4 x 4 of the image."""
    to_image = np.array([[4.0, 0, 1.5], [0, 4.0, 1.5], [0, 0, 1]])
    return ImageWithHeatmap(np.zeros(shape, np.float32), heat.astype(np.float32), to_image)


def spot(level=1.0):
    """A square of 4 x 8 grid pixels: rows 32 to 48 and columns 64 to 96 of the image."""
    heat = np.zeros((24, 32))
    heat[8:12, 16:24] = level
    return heat


@pytest.fixture
def state_of(tmp_path, classifier):
    """The state of an image of this header, with an explanation."""

    def make(ds, heat=None, **decision):
        path = save(ds, tmp_path / "image.dcm")
        series = ResultSeries(read_source(path), ObjectKind.PRESENTATION_STATE, MODEL, MADE)
        prediction = classified(classifier, path, **decision)
        found = explained(heat=spot() if heat is None else heat)
        return make_presentation_state(found, prediction, series)

    return make


@pytest.mark.parametrize(
    ("photometric", "may"),
    [("MONOCHROME1", True), ("MONOCHROME2", True), ("RGB", False), ("YBR_FULL", False), ("", False)],
)
def test_a_state_is_for_grey_images_only(photometric, may):
    assert may_have_presentation_state(make_ds(picture(), photometric=photometric)) is may


@pytest.mark.parametrize("level", [0.5, 0.75])
def test_an_outline_lies_around_its_place_in_the_image(level):
    (curve,) = trace_outlines(explained(heat=spot()), level)
    assert np.array_equal(curve[0], curve[-1]), "closed"
    # Between the grid pixel that has the heat and the one beside it.
    assert np.abs(curve.min(axis=0) - (64, 32)).max() <= 2
    assert np.abs(curve.max(axis=0) - (96, 48)).max() <= 2


def test_outlines_stay_in_the_image_and_are_closed_at_its_edge():
    (curve,) = trace_outlines(explained(heat=np.ones((24, 32))), 0.5)
    assert np.array_equal(curve[0], curve[-1])
    assert curve.min() >= 0
    assert (curve.max(axis=0) <= (128, 96)).all()
    assert trace_outlines(explained(heat=np.zeros((24, 32))), 0.5) == []
    two = spot() + np.roll(spot(), -12, axis=1)
    assert len(trace_outlines(explained(heat=two), 0.5)) == 2


def test_a_layer_is_there_only_if_something_is_drawn_on_it(state_of):
    assert [layer.GraphicLayer for layer in state_of(make_ds(picture())).GraphicLayerSequence] == [
        "NOTE",
        "HEAT 50 PERCENT",
        "HEAT 75 PERCENT",
    ]
    weak = state_of(make_ds(picture()), spot(0.6))
    assert [layer.GraphicLayer for layer in weak.GraphicLayerSequence] == ["NOTE", "HEAT 50 PERCENT"]
    none = state_of(make_ds(picture()), np.zeros((24, 32)))
    assert [layer.GraphicLayer for layer in none.GraphicLayerSequence] == ["NOTE"]


def test_the_note_says_what_was_decided_and_that_it_is_research(state_of):
    (note,) = [
        item.TextObjectSequence[0].UnformattedTextValue
        for item in state_of(
            make_ds(picture()), decided="uncertain", probable="pneumonia"
        ).GraphicAnnotationSequence
        if "TextObjectSequence" in item
    ]
    assert note.startswith("Uncertain: no class decided. Probability of Pneumonia: 96.0 %.")
    assert note.endswith(RESEARCH_USE)


def test_every_graphic_refers_to_the_image(state_of):
    source = make_ds(picture())
    state = state_of(source)
    for item in state.GraphicAnnotationSequence:
        assert item.ReferencedImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    (series,) = state.ReferencedSeriesSequence
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_the_gray_scale_is_that_of_the_image(state_of, photometric, shape):
    source = make_ds(picture(), photometric=photometric, RescaleSlope="2", RescaleIntercept="-10")
    source.RescaleType = "US"
    source.WindowCenter, source.WindowWidth = "40", "400"
    state = state_of(source)
    assert state.PresentationLUTShape == shape
    assert (state.RescaleSlope, state.RescaleIntercept) == (2, -10)
    (voi,) = state.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth) == (40, 400)


def test_without_a_window_none_is_written(state_of):
    state = state_of(make_ds(picture()))
    assert "SoftcopyVOILUTSequence" not in state
    assert (state.RescaleSlope, state.RescaleIntercept) == (1, 0)


@pytest.mark.parametrize("first", [0, -128])
def test_tables_are_copied_with_their_first_input_value(state_of, first):
    signed = first < 0
    pixels = picture().astype(np.int16) - (128 if signed else 0)
    source = make_ds(pixels.astype(np.int8) if signed else pixels.astype(np.uint8))
    table = np.linspace(0, 200, 256).round().astype(int)
    source.ModalityLUTSequence = [lut_item(table, first=first)]
    source.ModalityLUTSequence[0].ModalityLUTType = "US"
    source.WindowCenter, source.WindowWidth = "100", "200"
    (item,) = state_of(source).ModalityLUTSequence
    count, mapped, _ = item.LUTDescriptor
    assert (count, mapped) == (256, first)
    assert np.frombuffer(item.LUTData, np.uint16).tolist() == table.tolist()


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_without_a_window_a_modality_table_fills_its_range(state_of, bits):
    source = make_ds(picture())
    source.ModalityLUTSequence = [lut_item(np.linspace(0, 2**bits - 1, 256), bits=bits)]
    source.ModalityLUTSequence[0].ModalityLUTType = "US"
    state = state_of(source)
    assert "SoftcopyVOILUTSequence" not in state
    (item,) = state.ModalityLUTSequence
    assert list(item.LUTDescriptor) == [256, 0, 16]
    data = np.frombuffer(item.LUTData, np.uint16)
    np.testing.assert_allclose(data, np.linspace(0, 65535, 256), atol=257)
    assert data[-1] == 65535


def test_a_voi_table_is_stretched_to_16_bits(state_of):
    source = make_ds(picture())
    source.VOILUTSequence = [lut_item(np.arange(256))]
    (item,) = state_of(source).SoftcopyVOILUTSequence[0].VOILUTSequence
    data = np.frombuffer(item.LUTData, np.uint16)
    assert (data[0], data[-1], len(data)) == (0, 65535, 256)
    assert (np.diff(data.astype(int)) == 257).all()
