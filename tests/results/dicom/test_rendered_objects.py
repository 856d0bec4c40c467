"""The heat map as a Secondary Capture, the PDF report as an Encapsulated PDF."""

import numpy as np
import pytest
from dicom_helpers import make_ds, picture, save
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from results_helpers import MADE, classified

from covid_monai.results import ObjectKind
from covid_monai.results.dicom.rendered_objects import encapsulate_pdf, make_secondary_capture
from covid_monai.results.dicom.result_series import ResultSeries
from covid_monai.results.dicom.source_radiograph import read_source


def stored(ds, folder, **elements):
    """An image with other elements, as a file; None deletes."""
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return save(ds, folder / "image.dcm")


def test_a_lossy_image_gives_a_lossy_heat_map(results, classifier, tmp_path):
    image = stored(make_ds(picture()), tmp_path, LossyImageCompression="01", LossyImageCompressionRatio="7.5")
    heatmap = results.of(classified(classifier, image), MADE)[1]
    assert (heatmap.LossyImageCompression, heatmap.LossyImageCompressionRatio) == ("01", 7.5)


@pytest.fixture
def series_of(tmp_path):
    """Save an image, and give the series of a result of a kind."""

    def make(ds, kind=ObjectKind.HEATMAP):
        return ResultSeries(read_source(save(ds, tmp_path / "image.dcm")), kind, MODEL, MADE)

    return make


MODEL = {"version": "1.0", "weights_sha256": "0" * 64}
RENDERED = np.arange(60 * 40 * 3, dtype=np.uint32).reshape(60, 40, 3).astype(np.uint8)


def test_the_pixels_of_a_rendering_are_those_that_were_given(series_of):
    source = make_ds(picture(), PatientOrientation=["R", "F"], BurnedInAnnotation="NO")
    ds = make_secondary_capture(RENDERED, series_of(source))
    assert ds.SOPClassUID == SecondaryCaptureImageStorage
    assert np.array_equal(ds.pixel_array, RENDERED)
    assert (ds.PhotometricInterpretation, ds.BurnedInAnnotation, ds.BodyPartExamined) == (
        "RGB",
        "NO",
        "CHEST",
    )
    assert ds.PatientOrientation == ["R", "F"]
    assert ds.StudyInstanceUID == source.StudyInstanceUID
    (item,) = ds.SourceImageSequence
    assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (
        source.SOPClassUID,
        source.SOPInstanceUID,
    )
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (None, []),
        ("L", []),
        (["L", "F", "H"], []),
        (["X", "F"], []),
        (["L", "F"], ["L", "F"]),
        (["PL", "FR"], ["PL", "FR"]),
    ],
)
def test_an_orientation_that_is_not_known_is_not_invented(series_of, orientation, shown):
    source = make_ds(picture())
    if orientation is not None:
        source.PatientOrientation = orientation
    found = make_secondary_capture(RENDERED, series_of(source)).PatientOrientation
    assert list(found or []) == shown


@pytest.mark.parametrize("declared", [None, "", "MAYBE"])
def test_only_the_header_says_whether_pixels_name_the_patient(series_of, declared):
    source = make_ds(picture())
    if declared is not None:
        source.BurnedInAnnotation = declared
    assert "BurnedInAnnotation" not in make_secondary_capture(RENDERED, series_of(source))


@pytest.mark.parametrize(
    ("syntax", "lossy"),
    [
        (ExplicitVRLittleEndian, "00"),
        (RLELossless, "00"),
        (JPEGLSLossless, "00"),
        (JPEG2000Lossless, "00"),
        (HTJ2KLossless, "00"),
        (JPEGLosslessSV1, "00"),
        (JPEGBaseline8Bit, "01"),
        (JPEGLSNearLossless, "01"),
        (JPEG2000, "01"),
        (HTJ2K, "01"),
    ],
)
def test_a_transfer_syntax_with_loss_is_told(series_of, syntax, lossy):
    series = series_of(make_ds(picture()))
    series.source.ds.file_meta.TransferSyntaxUID = syntax
    assert make_secondary_capture(RENDERED, series).LossyImageCompression == lossy


def test_ratio_and_method_of_a_loss_are_copied_as_far_as_they_are_valid(series_of):
    source = make_ds(picture(), LossyImageCompression="01", LossyImageCompressionRatio=["7.5", "2"])
    source.LossyImageCompressionMethod = "ISO_15444_1"
    ds = make_secondary_capture(RENDERED, series_of(source))
    assert (list(ds.LossyImageCompressionRatio), ds.LossyImageCompressionMethod) == ([7.5, 2], "ISO_15444_1")
    source.LossyImageCompressionMethod = "ZIP"
    assert "LossyImageCompressionMethod" not in make_secondary_capture(RENDERED, series_of(source))


@pytest.mark.parametrize("content", [b"%PDF-1.4 even length.", b"%PDF-1.4 odd length"])
def test_a_pdf_comes_out_as_it_went_in(series_of, content):
    source = make_ds(picture())
    ds = encapsulate_pdf(content, series_of(source, ObjectKind.PDF))
    assert ds.SOPClassUID == EncapsulatedPDFStorage
    assert ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength] == content
    assert len(ds.EncapsulatedDocument) % 2 == 0
    assert (ds.MIMETypeOfEncapsulatedDocument, ds.BurnedInAnnotation) == ("application/pdf", "YES")
    assert (ds.ContentDate, ds.ContentTime) == ("20261130", "150405")
    assert ds.SourceInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
