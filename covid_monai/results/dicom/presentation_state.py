"""The outlines of the heat map as a Grayscale Softcopy Presentation State: viewers draw them on the image."""

import numpy as np
from highdicom import LUT, VOILUT, ModalityLUT, ModalityLUTTransformation, PresentationLUTTransformation, pr
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from skimage.measure import approximate_polygon, find_contours

from covid_monai.core.number_format import format_percent
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.dicom.elements import get_number, get_text
from covid_monai.dicom.grayscale import (
    all_stored_values,
    apply_modality,
    find_lookup_table,
    find_window,
    is_inverse,
)
from covid_monai.inference import wording
from covid_monai.inference.grad_cam import ImageWithHeatmap
from covid_monai.inference.prediction import Prediction
from covid_monai.results.dicom.result_series import ResultSeries

# Share of the strongest evidence, name of the layer, colour.
LEVELS = ((0.5, "HEAT 50 PERCENT", "orange"), (0.75, "HEAT 75 PERCENT", "red"))
_NOTE_LAYER = "NOTE"
_TOLERANCE = 0.05  # pixels of the heat map: smaller corners would be invisible


def may_have_presentation_state(ds: Dataset) -> bool:
    """Return whether the image is stored in grey: a presentation state is only for grey images."""
    return get_text(ds, "PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")


def make_presentation_state(
    explained: ImageWithHeatmap, prediction: Prediction, series: ResultSeries
) -> FileDataset:
    """Draw outlines at 50 % and 75 % of the strongest evidence, in pixels of the image.

    The gray scale is that of the image, as the readers use it (see `covid_monai.dicom.grayscale`).

    Reference: DICOM PS3.3 A.33.1, C.10.5 (Graphic Annotation), PS3.4 N.2 (grayscale transformations).
    """
    source = series.source
    image = Dataset()
    image.update(source.reference)
    image.Rows, image.Columns = explained.image.shape
    image.SamplesPerPixel = 1
    layers, annotations = _graphics(explained, prediction, image)
    shape, voi = "INVERSE" if is_inverse(source.ds) else "IDENTITY", _voi(source.ds)
    state = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        content_label="HEAT MAP",
        content_description="Outlines of a Grad-CAM heat map",
        graphic_layers=layers,
        graphic_annotations=annotations,
        modality_lut_transformation=_modality(source.ds, has_voi=voi is not None),
        voi_lut_transformations=voi,
        presentation_lut_transformation=PresentationLUTTransformation(presentation_lut_shape=shape),
        **series.arguments(),
    )
    state.BodyPartExamined = "CHEST"  # else it would need a Laterality
    return series.complete(state)


def trace_outlines(explained: ImageWithHeatmap, level: float) -> list[NDArray[np.float64]]:
    """Trace closed curves around the places whose heat exceeds `level`, in (0, 1).

    Each is an array [N, 2] of (column, row) in the image, from 0 at the outer edge of the first pixel (PS3.3
    C.10.5.1.2, units PIXEL).
    """
    edge = np.array(explained.image.shape)[::-1]
    found = []
    # A frame of zeros closes the curves that would leave the map.
    for curve in find_contours(np.pad(explained.heat, 1), level):
        corners = approximate_polygon(curve, _TOLERANCE) - 1
        rows_columns = np.c_[corners, np.ones(len(corners))] @ explained.to_image[:2].T
        found.append(np.clip(rows_columns[:, ::-1] + 0.5, 0, edge))
    return found


def _graphics(
    explained: ImageWithHeatmap, prediction: Prediction, image: Dataset
) -> tuple[list[pr.GraphicLayer], list[pr.GraphicAnnotation]]:
    note = pr.GraphicLayer(_NOTE_LAYER, 1, display_color=CIELabColor.from_string("yellow"))
    layers, annotations = [note], [_note(prediction, image, note)]
    for order, (level, name, colour) in enumerate(LEVELS, 2):
        if curves := trace_outlines(explained, level):
            words = f"{format_percent(level, 0)} of the strongest evidence"
            layers.append(pr.GraphicLayer(name, order, words, display_color=CIELabColor.from_string(colour)))
            drawn = [pr.GraphicObject("POLYLINE", curve, units="PIXEL") for curve in curves]
            annotations.append(pr.GraphicAnnotation([image], layers[-1], graphic_objects=drawn))
    return layers, annotations


def _note(prediction: Prediction, image: Dataset, layer: pr.GraphicLayer) -> pr.GraphicAnnotation:
    class_name = wording.explained_class(prediction)
    label = wording.class_label(class_name)
    words = (
        f"{wording.finding(prediction)}. {wording.probability_words(prediction)}\r\n"
        f"Outlines: evidence for {label} (Grad-CAM, 50 % and 75 % of the strongest).\r\n"
        f"{RESEARCH_USE}"
    )
    box = (0.02, 0.9, 0.98, 0.99)  # left, top, right, bottom, as shares of the display
    written = pr.TextObject(words, units="DISPLAY", bounding_box=box, text_justification="LEFT")
    return pr.GraphicAnnotation([image], layer, text_objects=[written])


def _modality(ds: Dataset, *, has_voi: bool) -> ModalityLUTTransformation:
    table = find_lookup_table(ds, "ModalityLUTSequence", inputs=_stored_values(ds))
    if table is not None:
        # Tables have 8 or 16 bits (PS3.3 C.11.1.1.1), and without a VOI viewers show all of that range.
        entries = table.entries if has_voi else (table.entries / table.top * 65535).round()
        lut = ModalityLUT("US", 0, entries.astype(np.uint16))
        return ModalityLUTTransformation(modality_lut=_with_first_mapped(lut, table.first_mapped))
    return ModalityLUTTransformation(
        rescale_intercept=get_number(ds, "RescaleIntercept") or 0.0,
        rescale_slope=get_number(ds, "RescaleSlope") or 1.0,
        rescale_type="US",
    )


def _voi(ds: Dataset) -> list[pr.SoftcopyVOILUTTransformation] | None:
    """Return the image's first VOI LUT or window; None if it has none that can be applied."""
    table = find_lookup_table(ds, "VOILUTSequence", inputs=apply_modality(_stored_values(ds), ds))
    if table is not None:
        # Stretched to 16 bits without another meaning: the output range of this table is black to white.
        shown = (table.entries / table.top * 65535).round().astype(np.uint16)
        lut = _with_first_mapped(VOILUT(0, shown), table.first_mapped)
        return [pr.SoftcopyVOILUTTransformation(voi_luts=[lut])]
    window = find_window(ds)
    if window is None:
        return None
    center, width, function = window
    return [
        pr.SoftcopyVOILUTTransformation(window_center=center, window_width=width, voi_lut_function=function)
    ]


def _with_first_mapped(lut: LUT, first_mapped: int) -> LUT:
    """Set the first input value of a table, which may not be negative in highdicom (PS3.3 C.11.1.1.1)."""
    count, _, bits = lut.LUTDescriptor
    lut.add_new("LUTDescriptor", "SS" if first_mapped < 0 else "US", [count, first_mapped, bits])
    return lut


def _stored_values(ds: Dataset) -> NDArray[np.float64]:
    bits = int(get_number(ds, "BitsStored") or get_number(ds, "BitsAllocated") or 16)
    return all_stored_values(bits, signed=get_number(ds, "PixelRepresentation") == 1)
