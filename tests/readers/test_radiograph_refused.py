"""What is no grey chest radiograph is refused, and what is damaged is named; nothing else is raised."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_helpers import SECONDARY_CAPTURE, make_ds, picture, refusal, save, ways_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    RLELossless,
)

from covid_monai.core.vocabulary import RefusalReason, RefusedImage, UnreadableImage
from covid_monai.readers import read_radiograph

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
RSNA = "dicom/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"


# What is refused, what is not readable


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT"}, "NOT_PROJECTION"),
        ({"Modality": "MG"}, "NOT_PROJECTION"),
        ({"Modality": "XA"}, "NOT_PROJECTION"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "NOT_PROJECTION"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, "PRESENTATION_STATE"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, "REPORT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "REPORT"),
        ({"NumberOfFrames": "2"}, "MULTI_FRAME"),
        ({"BodyPartExamined": "HAND"}, "NOT_CHEST"),
        ({"BodyPartExamined": "CSPINE"}, "NOT_CHEST"),
        ({"BodyPartExamined": "SKULL"}, "NOT_CHEST"),
        ({"BodyPartExamined": "ABDOMEN"}, "NOT_CHEST"),
        ({"StudyDescription": "XR KNEE 2 VIEWS"}, "NOT_CHEST"),
        ({"AcquisitionDeviceProcessingDescription": "[LOWER LEG         ]"}, "NOT_CHEST"),
    ],
)
def test_refused_by_its_elements(tmp_path, elements, reason):
    path = save(make_ds(picture(), **elements), tmp_path / "image.dcm")
    assert refusal(path) is RefusalReason[reason]


@pytest.mark.parametrize(
    "elements",
    [
        {"BodyPartExamined": ""},
        {"BodyPartExamined": "UNKNOWN"},
        {"BodyPartExamined": "PORT CHEST"},
        {"BodyPartExamined": "CHEST_ABDOMEN"},
        {"BodyPartExamined": "RIBS"},
        {"BodyPartExamined": "CHEST", "StudyDescription": "Chest and knee"},
        {"StudyDescription": "CHEST PA, PELVIS AP"},
        {"StudyDescription": "Port placement left arm, check position"},
        {"Modality": "CR"},
        {"Modality": "OT", "SOPClassUID": SECONDARY_CAPTURE},
        {"Modality": "", "SOPClassUID": SECONDARY_CAPTURE},
        {"NumberOfFrames": "1"},
    ],
)
def test_accepted(tmp_path, elements):
    image, _ = read_radiograph(save(make_ds(picture(), **elements), tmp_path / "image.dcm"))
    assert image.shape == (1, 96, 128)


def test_anatomic_region_is_read(tmp_path):
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "30021000", "SCT", "Lower leg"
    ds = make_ds(picture(), AnatomicRegionSequence=[region])
    assert refusal(save(ds, tmp_path / "image.dcm")) is RefusalReason.NOT_CHEST


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((40, 40), "TOO_SMALL"), ((400, 64), "NOT_PROJECTION"), ((64, 300), "NOT_PROJECTION")],
)
def test_refused_by_size(tmp_path, shape, reason):
    assert refusal(save(make_ds(picture(*shape)), tmp_path / "image.dcm")) is RefusalReason[reason]
    Image.fromarray(picture(*shape)).save(tmp_path / "image.png")
    assert refusal(tmp_path / "image.png") is RefusalReason[reason]


def test_too_large_is_refused_before_decoding(tmp_path):
    ds = make_ds(picture())
    ds.Rows, ds.Columns = 40000, 40000  # there are not nearly so many pixels to decode
    assert refusal(save(ds, tmp_path / "image.dcm")) is RefusalReason.TOO_LARGE


def test_no_pixels(tmp_path):
    ds = make_ds(picture())
    del ds.PixelData
    assert refusal(save(ds, tmp_path / "image.dcm")) is RefusalReason.NO_PIXELS


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_is_refused(tmp_path, photometric):
    colour = np.stack([picture(), picture()[::-1], picture()[:, ::-1]], axis=-1)
    ds = make_ds(np.ascontiguousarray(colour), sop_class=SECONDARY_CAPTURE, photometric=photometric)
    assert refusal(save(ds, tmp_path / "image.dcm")) is RefusalReason.COLOUR


def test_grey_palette_and_grey_ybr(tmp_path):
    expected, _ = read_radiograph(save(make_ds(picture()), tmp_path / "grey.dcm"))
    ds = make_ds(picture(), sop_class=SECONDARY_CAPTURE, photometric="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        ds.add_new(
            f"{colour}PaletteColorLookupTableData", "OW", (np.arange(256, dtype="<u2") * 257).tobytes()
        )
    np.testing.assert_allclose(read_radiograph(save(ds, tmp_path / "palette.dcm"))[0], expected, atol=1e-6)
    ybr = np.full((*picture().shape, 3), 128, np.uint8)
    ybr[..., 0] = picture()
    ds = make_ds(ybr, sop_class=SECONDARY_CAPTURE, photometric="YBR_FULL")
    np.testing.assert_allclose(read_radiograph(save(ds, tmp_path / "ybr.dcm"))[0], expected, atol=1e-6)


def test_not_readable(tmp_path):
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.jpg").write_text("no image")
    whole = save(make_ds(picture()), tmp_path / "image.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-1000])
    causes = {
        "missing.dcm": "no such file",
        "empty.dcm": "empty",
        "text.jpg": "not a DICOM",
        "cut.dcm": "bytes",
    }
    for name, cause in causes.items():
        with pytest.raises(UnreadableImage, match=f"{name}.*{cause}"):
            read_radiograph(tmp_path / name)
    with pytest.raises(UnreadableImage, match="folder"):
        read_radiograph(tmp_path)


@pytest.mark.parametrize("implicit", [False, True])
def test_without_preamble_and_meta(tmp_path, implicit):
    ds = make_ds(picture())
    expected, _ = read_radiograph(save(ds, tmp_path / "image.dcm"))
    pydicom.dcmwrite(tmp_path / "bare.dcm", strip_meta(ds), implicit_vr=implicit, little_endian=True)
    np.testing.assert_array_equal(read_radiograph(tmp_path / "bare.dcm")[0], expected)


def strip_meta(ds):
    bare = Dataset()
    bare.update(ds)
    return bare


def test_elements_that_anonymisers_drop(tmp_path):
    ds = make_ds(picture())
    expected, _ = read_radiograph(save(ds, tmp_path / "image.dcm"))
    for keyword in ("HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation"):
        delattr(ds, keyword)
    np.testing.assert_array_equal(read_radiograph(save(ds, tmp_path / "dropped.dcm"))[0], expected)


@pytest.mark.parametrize(
    ("process", "precision"), [("+e1", 0), ("+e1", 17), ("+e1", 200), ("+ee", 2), ("+ee", 9), ("+ee", 200)]
)
def test_jpeg_precision_that_would_end_the_process(tmp_path, process, precision):
    if shutil.which("dcmcjpeg") is None:
        pytest.skip("needs DCMTK's dcmcjpeg")
    plain = save(make_ds(picture(top=4095, dtype=np.uint16), bits_stored=12), tmp_path / "plain.dcm")
    subprocess.run(["dcmcjpeg", process, plain, tmp_path / "image.dcm"], check=True, capture_output=True)
    whole = bytearray((tmp_path / "image.dcm").read_bytes())
    frame_header = whole.index(b"\xff\xc3\x00\x0b" if process == "+e1" else b"\xff\xc1\x00\x0b")
    whole[frame_header + 4] = precision
    (tmp_path / "image.dcm").write_bytes(whole)
    with pytest.raises(UnreadableImage, match=f"{precision} bits"):
        read_radiograph(tmp_path / "image.dcm")


def test_jpeg_application_segment_that_would_end_the_process(tmp_path):
    if shutil.which("dcmcjpeg") is None:
        pytest.skip("needs DCMTK's dcmcjpeg")
    plain = save(make_ds(picture()), tmp_path / "plain.dcm")
    subprocess.run(["dcmcjpeg", "+e1", plain, tmp_path / "image.dcm"], check=True, capture_output=True)
    whole = bytearray((tmp_path / "image.dcm").read_bytes())
    whole[whole.index(b"JFIF\0") + 5] = 0
    (tmp_path / "image.dcm").write_bytes(whole)
    with pytest.raises(UnreadableImage, match="application segment"):
        read_radiograph(tmp_path / "image.dcm")


def test_jpeg_predictor_that_would_end_the_process(tmp_path):
    if shutil.which("dcmcjpeg") is None:
        pytest.skip("needs DCMTK's dcmcjpeg")
    plain = save(make_ds(picture()), tmp_path / "plain.dcm")
    subprocess.run(["dcmcjpeg", "+e1", plain, tmp_path / "image.dcm"], check=True, capture_output=True)
    whole = bytearray((tmp_path / "image.dcm").read_bytes())
    scan_header = whole.index(b"\xff\xda\x00\x08\x01")
    whole[scan_header + 7] = 9
    (tmp_path / "image.dcm").write_bytes(whole)
    with pytest.raises(UnreadableImage, match="predictor 9"):
        read_radiograph(tmp_path / "image.dcm")


def test_jpeg_of_another_size_than_its_header(tmp_path):
    if shutil.which("dcmcjpeg") is None:
        pytest.skip("needs DCMTK's dcmcjpeg")
    plain = save(make_ds(picture()), tmp_path / "plain.dcm")
    subprocess.run(["dcmcjpeg", "+eb", plain, tmp_path / "image.dcm"], check=True, capture_output=True)
    ds = pydicom.dcmread(tmp_path / "image.dcm")
    ds.Rows = 80
    with pytest.raises(UnreadableImage, match="128 x 96, its header 128 x 80"):
        read_radiograph(save(ds, tmp_path / "other.dcm"))


def test_element_that_runs_on_shows_no_name(tmp_path):
    whole = bytearray(save(make_ds(picture()), tmp_path / "image.dcm").read_bytes())
    length = whole.index(b"CS\x02\x00DX") + 2
    pixels = whole.index(b"\xe0\x7f\x10\x00OW")
    whole[length : length + 2] = (pixels - length - 2).to_bytes(2, "little")
    (tmp_path / "image.dcm").write_bytes(whole)
    assert refusal(tmp_path / "image.dcm") is RefusalReason.NOT_PROJECTION  # and checks the message


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["image.jpg", "image.png", "mono2.dcm", "j2k.dcm", "rle.dcm"]), st.data())
@pytest.mark.filterwarnings("ignore")  # pydicom's, about values that are strange on purpose
def test_damaged_files_raise_nothing_else(damaged_source, name, data):
    whole = bytearray((damaged_source / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        # Headers are short: most places would only hit pixels.
        limit = data.draw(st.sampled_from([1200, len(whole)]))
        whole[data.draw(st.integers(0, min(limit, len(whole)) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    keep = data.draw(st.integers(1, len(whole)) | st.just(len(whole)))
    path = damaged_source / "damaged"
    path.write_bytes(whole[:keep])
    image, message = np.zeros(1), ""
    try:
        image, _ = read_radiograph(path, target_size=data.draw(st.sampled_from([None, 8])))
    except (RefusedImage, UnreadableImage) as error:
        message = str(error)
    assert "Doe" not in message
    assert np.isfinite(image).all()


@pytest.fixture(scope="module")
def damaged_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    ways_in(folder)
    ds = make_ds(picture())
    ds.compress(RLELossless)
    save(ds, folder / "rle.dcm")
    return folder


@pytest.mark.real_data
def test_a_truncated_transfer_is_called_that(real_data, tmp_path):
    whole = (real_data / "dicom" / "RG1_J2KI.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:60_000])
    with pytest.raises(UnreadableImage, match=r"cut\.dcm: The DICOM file is truncated or damaged"):
        read_radiograph(tmp_path / "cut.dcm")
