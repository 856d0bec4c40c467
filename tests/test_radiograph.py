"""Radiographs off disk, through every way in, against the decoders and viewers that users have."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor, list_data_collate
from monai.transforms import EnsureChannelFirst, LoadImage, LoadImaged
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from covid_monai.readers import RadiographReader, read_radiograph
from covid_monai.vocabulary import RefusalReason, RefusedImage, UnreadableImage

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
RSNA = "dicom/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def picture(rows=96, columns=128, *, top=255, dtype=np.uint8):
    """A smooth picture without symmetry, with noise."""
    y, x = np.mgrid[0:rows, 0:columns]
    shape = 0.5 + 0.3 * np.sin(x / 17) * np.cos(y / 23) + 0.2 * x / columns * (1 - y / rows)
    noise = np.random.default_rng(0).normal(0, 0.01, shape.shape)
    return (np.clip(shape + noise, 0, 1) * top).astype(dtype)


def make_ds(cells, *, sop_class=DX, photometric="MONOCHROME2", bits_stored=None, **elements):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality, ds.PatientName, ds.PatientID = "DX", "Doe^Jane", "P1"
    ds.Rows, ds.Columns = cells.shape[:2]
    ds.BitsAllocated = cells.dtype.itemsize * 8
    ds.BitsStored = bits_stored or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(cells.dtype.kind == "i")
    ds.SamplesPerPixel = 1 if cells.ndim == 2 else 3
    if cells.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.add_new("PixelData", "OW", cells.tobytes())
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def save(ds, path):
    ds.save_as(path, enforce_file_format=True)
    return path


def refusal(path):
    with pytest.raises(RefusedImage) as caught:
        read_radiograph(path)
    assert path.name in str(caught.value)
    assert "Doe" not in str(caught.value)
    return caught.value.reason


# Real files


def test_every_public_dicom_file_has_a_known_outcome(real_data):
    outcomes = {}
    for path in sorted((real_data / "dicom").glob("*.dcm")) + sorted((real_data / "ct").glob("*.dcm")):
        try:
            image, _ = read_radiograph(path)
            assert image.ndim == 3 and image.dtype == np.float32 and image.shape[0] == 1
            assert 0 <= image.min() < image.max() <= 1
            outcomes[path.name] = "ok"
        except RefusedImage as error:
            outcomes[path.name] = error.reason.value
    assert outcomes == {
        Path(RSNA).name: "ok",
        "Fake_MONOHR1.dcm": "ok",
        "RG1_J2KI.dcm": "ok",
        "mlut_18.dcm": "ok",
        "vlut_04.dcm": "ok",
        "RG3_J2KI.dcm": "not_a_chest",
        "RG3_J2KR.dcm": "not_a_chest",
        "HTJ2K_08_RGB.dcm": "colour",
        "693_UNCR.dcm": "not_a_projection_radiograph",
        "JPGLosslessP14SV1_1s_1f_8b.dcm": "not_a_projection_radiograph",
        "lungmask_0.dcm": "not_a_projection_radiograph",
        "lungmask_1.dcm": "not_a_projection_radiograph",
    }


def test_twins_differ_exactly_by_polarity(real_data):
    first, _ = read_radiograph(real_data / RSNA)
    second, _ = read_radiograph(real_data / "dicom/Fake_MONOHR1.dcm")
    np.testing.assert_allclose(first, 1 - second, atol=1e-6)
    np.testing.assert_allclose(first[0], pydicom.dcmread(real_data / RSNA).pixel_array / 255, atol=1e-6)


def test_monochrome1_jpeg2000_chest_is_upright_with_bright_bone(real_data):
    image, meta = read_radiograph(real_data / "dicom/RG1_J2KI.dcm")
    assert image.shape == (1, 1955, 1841)
    assert meta["PhotometricInterpretation"] == "MONOCHROME1"
    ds = pydicom.dcmread(real_data / "dicom/RG1_J2KI.dcm")
    shown = 1 - np.clip((ds.pixel_array - 14999.5) / 29999 + 0.5, 0, 1)
    np.testing.assert_allclose(image[0], shown, atol=1e-6)
    spine, right_lung = image[0, 500:700, 880:940].mean(), image[0, 450:650, 350:550].mean()
    assert spine > right_lung + 0.1
    # Shoulders taper towards the neck: the corners beside it are air, above the diaphragm's dense half.
    assert image[0, 1400:1800, 400:1400].mean() > image[0, 400:800, 400:1400].mean()


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="needs DCMTK's dcmj2pnm")
@pytest.mark.parametrize(
    ("name", "options"),
    [(RSNA, ["-W"]), ("dicom/Fake_MONOHR1.dcm", ["-W"]), ("dicom/vlut_04.dcm", ["+Wl", "1"])],
)
def test_real_files_equal_dcmtk(real_data, tmp_path, name, options):
    png = tmp_path / "film.png"
    subprocess.run(["dcmj2pnm", *options, "+on", real_data / name, png], check=True, capture_output=True)
    image, _ = read_radiograph(real_data / name)
    np.testing.assert_allclose(image[0] * 255, np.asarray(Image.open(png)), atol=1)


def test_modality_lut_file_equals_pydicom(real_data):
    from pydicom.pixels import apply_modality_lut

    ds = pydicom.dcmread(real_data / "dicom/mlut_18.dcm")
    values = apply_modality_lut(ds.pixel_array, ds).astype(float)
    low, high = np.percentile(values, [0.5, 99.5], method="inverted_cdf")
    image, _ = read_radiograph(real_data / "dicom/mlut_18.dcm")
    np.testing.assert_allclose(image[0], np.clip((values - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's own, about files that are wrong on purpose
def test_pydicom_files_give_a_grey_image_or_a_reason():
    accepted = set()
    for path in sorted(p for p in PYDICOM_FILES.rglob("*") if p.is_file()):
        try:
            image, _ = read_radiograph(path)
        except (RefusedImage, UnreadableImage) as error:
            assert path.name in str(error)
        else:
            assert image.ndim == 3 and min(image.shape[1:]) >= 64
            accepted.add(path.name)
    assert accepted == {"image_dfl.dcm"}  # the only grey single-frame secondary capture of a size


# The same picture through every way in


def ways_in(folder):
    """One 8-bit picture in every format; yields name and path."""
    pixels = picture()
    Image.fromarray(pixels).save(folder / "film.jpg", quality=100)
    Image.fromarray(pixels).save(folder / "film.png")
    Image.fromarray(pixels).convert("RGB").save(folder / "rgb.png")
    Image.fromarray(pixels).convert("RGB").save(folder / "rgb.jpg", quality=100, subsampling=0)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(folder / "wide.png")
    save(make_ds(pixels), folder / "mono2.dcm")
    save(make_ds(255 - pixels, photometric="MONOCHROME1"), folder / "mono1.dcm")
    compressed = make_ds(pixels)
    compressed.compress(JPEG2000Lossless)
    save(compressed, folder / "j2k.dcm")
    colour = make_ds(np.repeat(pixels[..., None], 3, axis=2), sop_class=SECONDARY_CAPTURE, photometric="RGB")
    save(colour, folder / "rgb.dcm")
    wide = make_ds(pixels.astype(np.uint16) * 16, bits_stored=12, WindowCenter="2040.5", WindowWidth="4081")
    save(wide, folder / "wide.dcm")
    return pixels, sorted(folder.iterdir())


def test_same_picture_through_every_way_in(tmp_path):
    pixels, paths = ways_in(tmp_path)
    assert len(paths) == 10
    load = LoadImaged(keys="image", reader=RadiographReader)
    for path in paths:
        image, _ = read_radiograph(path)
        assert image.shape == (1, *pixels.shape), path.name
        np.testing.assert_allclose(image[0] * 255, pixels, atol=1.001, err_msg=path.name)
        np.testing.assert_array_equal(load({"image": str(path)})["image"].numpy(), image)


def test_grey_saved_as_rgb_gives_exactly_the_same(tmp_path):
    _, _ = ways_in(tmp_path)
    grey, _ = read_radiograph(tmp_path / "film.png")
    for name in ("rgb.png", "rgb.dcm", "mono2.dcm", "mono1.dcm", "j2k.dcm"):
        np.testing.assert_allclose(read_radiograph(tmp_path / name)[0], grey, atol=1e-7)


def test_the_folder_of_a_series_of_one_film_is_that_film(tmp_path):
    _, paths = ways_in(tmp_path)
    (tmp_path / "series").mkdir()
    paths[0].rename(tmp_path / "series" / "film.dcm")
    alone, meta = read_radiograph(tmp_path / "series" / "film.dcm")
    image, found = LoadImaged(keys="image", reader=RadiographReader, image_only=False)(
        {"image": str(tmp_path / "series")}
    ).values()
    np.testing.assert_array_equal(image.numpy(), alone)
    assert found["SOPInstanceUID"] == meta["SOPInstanceUID"]
    with pytest.raises(UnreadableImage, match=f"a folder of {len(paths) - 1} files"):
        read_radiograph(tmp_path)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_transfer_syntaxes(tmp_path, syntax, signed):
    pixels = picture(top=4095, dtype=np.uint16)
    if signed:
        pixels = (pixels.astype(np.int32) - 2048).astype(np.int16)
    center = "0" if signed else "2048"
    ds = make_ds(pixels, bits_stored=12, WindowCenter=center, WindowWidth="4096")
    expected, _ = read_radiograph(save(ds, tmp_path / "plain.dcm"))
    if syntax in (RLELossless, JPEG2000Lossless):
        ds.compress(syntax)
    else:
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(read_radiograph(save(ds, tmp_path / "film.dcm"))[0], expected)


@pytest.mark.parametrize(
    ("command", "tolerance"),
    [
        (["dcmcjpeg", "+e1"], 0),  # lossless, selection value 1
        (["dcmcjpeg", "+el", "+sv", "6"], 0),  # lossless, process 14
        (["dcmcjpeg", "+ee", "+q", "100"], 8 / 4095),  # extended, 12 bits
        (["dcmcjpls", "+el"], 0),
        (["dcmcjpls", "+en", "+md", "2"], 2 / 4095),  # near-lossless
        (["dcmcrle"], 0),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_transfer_syntaxes_that_dcmtk_writes(tmp_path, command, tolerance, photometric):
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs DCMTK's {command[0]}")
    pixels = picture(top=4095, dtype=np.uint16)
    ds = make_ds(pixels, bits_stored=12, photometric=photometric, WindowCenter="2048", WindowWidth="4096")
    plain, film = save(ds, tmp_path / "plain.dcm"), tmp_path / "film.dcm"
    subprocess.run([*command, plain, film], check=True, capture_output=True)
    # The window belongs to the original values; dcmcjpeg may scale lossy ones.
    np.testing.assert_allclose(read_radiograph(film)[0], read_radiograph(plain)[0], atol=tolerance + 1e-6)


def test_lossy_overshoot_does_not_wrap(tmp_path):
    ds = make_ds(picture(top=2047, dtype=np.uint16), bits_stored=12, WindowCenter="512", WindowWidth="1024")
    ds.compress(JPEG2000Lossless)
    ds.BitsStored, ds.HighBit = 10, 9  # a stream of 12 bits in a header of 10
    image, _ = read_radiograph(save(ds, tmp_path / "film.dcm"))
    expected = np.minimum(picture(top=2047, dtype=np.uint16), 1023) / 1023
    np.testing.assert_allclose(image[0], expected, atol=1e-3)


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
    path = save(make_ds(picture(), **elements), tmp_path / "film.dcm")
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
    image, _ = read_radiograph(save(make_ds(picture(), **elements), tmp_path / "film.dcm"))
    assert image.shape == (1, 96, 128)


def test_anatomic_region_is_read(tmp_path):
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "30021000", "SCT", "Lower leg"
    ds = make_ds(picture(), AnatomicRegionSequence=[region])
    assert refusal(save(ds, tmp_path / "film.dcm")) is RefusalReason.NOT_CHEST


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((40, 40), "TOO_SMALL"), ((400, 64), "NOT_PROJECTION"), ((64, 300), "NOT_PROJECTION")],
)
def test_refused_by_size(tmp_path, shape, reason):
    assert refusal(save(make_ds(picture(*shape)), tmp_path / "film.dcm")) is RefusalReason[reason]
    Image.fromarray(picture(*shape)).save(tmp_path / "film.png")
    assert refusal(tmp_path / "film.png") is RefusalReason[reason]


def test_too_large_is_refused_before_decoding(tmp_path):
    ds = make_ds(picture())
    ds.Rows, ds.Columns = 40000, 40000  # there are not nearly so many pixels to decode
    assert refusal(save(ds, tmp_path / "film.dcm")) is RefusalReason.TOO_LARGE


def test_no_pixels(tmp_path):
    ds = make_ds(picture())
    del ds.PixelData
    assert refusal(save(ds, tmp_path / "film.dcm")) is RefusalReason.NO_PIXELS


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_is_refused(tmp_path, photometric):
    colour = np.stack([picture(), picture()[::-1], picture()[:, ::-1]], axis=-1)
    ds = make_ds(np.ascontiguousarray(colour), sop_class=SECONDARY_CAPTURE, photometric=photometric)
    assert refusal(save(ds, tmp_path / "film.dcm")) is RefusalReason.COLOUR


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
    whole = save(make_ds(picture()), tmp_path / "film.dcm").read_bytes()
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
    expected, _ = read_radiograph(save(ds, tmp_path / "film.dcm"))
    pydicom.dcmwrite(tmp_path / "bare.dcm", strip_meta(ds), implicit_vr=implicit, little_endian=True)
    np.testing.assert_array_equal(read_radiograph(tmp_path / "bare.dcm")[0], expected)


def strip_meta(ds):
    bare = Dataset()
    bare.update(ds)
    return bare


def test_elements_that_anonymisers_drop(tmp_path):
    ds = make_ds(picture())
    expected, _ = read_radiograph(save(ds, tmp_path / "film.dcm"))
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
    subprocess.run(["dcmcjpeg", process, plain, tmp_path / "film.dcm"], check=True, capture_output=True)
    whole = bytearray((tmp_path / "film.dcm").read_bytes())
    frame_header = whole.index(b"\xff\xc3\x00\x0b" if process == "+e1" else b"\xff\xc1\x00\x0b")
    whole[frame_header + 4] = precision
    (tmp_path / "film.dcm").write_bytes(whole)
    with pytest.raises(UnreadableImage, match=f"{precision} bits"):
        read_radiograph(tmp_path / "film.dcm")


def test_jpeg_application_segment_that_would_end_the_process(tmp_path):
    if shutil.which("dcmcjpeg") is None:
        pytest.skip("needs DCMTK's dcmcjpeg")
    plain = save(make_ds(picture()), tmp_path / "plain.dcm")
    subprocess.run(["dcmcjpeg", "+e1", plain, tmp_path / "film.dcm"], check=True, capture_output=True)
    whole = bytearray((tmp_path / "film.dcm").read_bytes())
    whole[whole.index(b"JFIF\0") + 5] = 0
    (tmp_path / "film.dcm").write_bytes(whole)
    with pytest.raises(UnreadableImage, match="application segment"):
        read_radiograph(tmp_path / "film.dcm")


def test_jpeg_predictor_that_would_end_the_process(tmp_path):
    if shutil.which("dcmcjpeg") is None:
        pytest.skip("needs DCMTK's dcmcjpeg")
    plain = save(make_ds(picture()), tmp_path / "plain.dcm")
    subprocess.run(["dcmcjpeg", "+e1", plain, tmp_path / "film.dcm"], check=True, capture_output=True)
    whole = bytearray((tmp_path / "film.dcm").read_bytes())
    scan_header = whole.index(b"\xff\xda\x00\x08\x01")
    whole[scan_header + 7] = 9
    (tmp_path / "film.dcm").write_bytes(whole)
    with pytest.raises(UnreadableImage, match="predictor 9"):
        read_radiograph(tmp_path / "film.dcm")


def test_jpeg_of_another_size_than_its_header(tmp_path):
    if shutil.which("dcmcjpeg") is None:
        pytest.skip("needs DCMTK's dcmcjpeg")
    plain = save(make_ds(picture()), tmp_path / "plain.dcm")
    subprocess.run(["dcmcjpeg", "+eb", plain, tmp_path / "film.dcm"], check=True, capture_output=True)
    ds = pydicom.dcmread(tmp_path / "film.dcm")
    ds.Rows = 80
    with pytest.raises(UnreadableImage, match="128 x 96, its header 128 x 80"):
        read_radiograph(save(ds, tmp_path / "other.dcm"))


def test_element_that_runs_on_shows_no_name(tmp_path):
    whole = bytearray(save(make_ds(picture()), tmp_path / "film.dcm").read_bytes())
    length = whole.index(b"CS\x02\x00DX") + 2
    whole[length : length + 2] = (200).to_bytes(2, "little")
    (tmp_path / "film.dcm").write_bytes(whole)
    assert refusal(tmp_path / "film.dcm") is RefusalReason.NOT_PROJECTION  # and checks the message


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["film.jpg", "film.png", "mono2.dcm", "j2k.dcm", "rle.dcm"]), st.data())
def test_damaged_files_raise_nothing_else(damaged_source, name, data):
    whole = bytearray((damaged_source / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        # Headers are short: most places would only hit pixels.
        limit = data.draw(st.sampled_from([1200, len(whole)]))
        whole[data.draw(st.integers(0, min(limit, len(whole)) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    keep = data.draw(st.integers(1, len(whole)) | st.just(len(whole)))
    path = damaged_source / "damaged"
    path.write_bytes(whole[:keep])
    try:
        image, _ = read_radiograph(path)
    except (RefusedImage, UnreadableImage) as error:
        assert "Doe" not in str(error)
    else:
        assert np.isfinite(image).all()


@pytest.fixture(scope="module")
def damaged_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    ways_in(folder)
    ds = make_ds(picture())
    ds.compress(RLELossless)
    save(ds, folder / "rle.dcm")
    return folder


# Metadata and MONAI


def test_metadata(tmp_path):
    ds = make_ds(picture(), ImagerPixelSpacing=["0.2", "0.3"], ViewPosition="PA", PatientSex="F")
    _, meta = read_radiograph(save(ds, tmp_path / "film.dcm"))
    assert meta["spacing_source"] == "ImagerPixelSpacing"
    np.testing.assert_array_equal(meta["spacing_mm"], [0.2, 0.3])
    np.testing.assert_array_equal(meta["affine"], np.diag([0.2, 0.3, 1, 1]))
    assert (meta["ViewPosition"], meta["PatientSex"], meta["PatientID"]) == ("PA", "F", "P1")
    assert meta["SOPInstanceUID"] == ds.SOPInstanceUID
    ds.PixelSpacing = ["0.15", "0.15"]
    _, meta = read_radiograph(save(ds, tmp_path / "film.dcm"))
    assert (meta["spacing_source"], meta["spacing_mm"][0]) == ("PixelSpacing", 0.15)
    Image.fromarray(picture()).save(tmp_path / "film.png")
    _, plain = read_radiograph(tmp_path / "film.png")
    assert plain.keys() == meta.keys()
    assert plain["spacing_source"] == "none"
    assert all(value is not None for value in (*meta.values(), *plain.values()))


def test_monai_loads_collates_and_keeps_the_axes(tmp_path):
    _, paths = ways_in(tmp_path)
    load = LoadImaged(keys="image", reader=RadiographReader)
    batch = list_data_collate([load({"image": path}) for path in paths[:4]])
    assert batch["image"].shape == (4, 1, 96, 128)
    named = LoadImage(reader="covid_monai.readers.RadiographReader")(paths[0])
    assert isinstance(named, MetaTensor)
    assert EnsureChannelFirst()(named).shape == (1, 96, 128)
    assert LoadImage(reader=RadiographReader, ensure_channel_first=True)(paths[0]).shape == (1, 96, 128)


def test_monai_does_not_fall_back_to_other_readers(tmp_path):
    load = LoadImage(reader=RadiographReader)
    refused = save(make_ds(picture(), Modality="CT"), tmp_path / "ct.dcm")
    with pytest.raises(RefusedImage):
        load(refused)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnreadableImage):
        load(tmp_path / "cut.png")
    with pytest.raises(ValueError, match="2 files"):
        load([refused, refused])


def test_functions_need_no_torch():
    code = "import sys; from covid_monai.readers import read_radiograph; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.real_data
def test_a_truncated_transfer_is_called_that(real_data, tmp_path):
    whole = (real_data / "dicom" / "RG1_J2KI.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:60_000])
    with pytest.raises(UnreadableImage, match=r"cut\.dcm: a truncated or damaged DICOM file"):
        read_radiograph(tmp_path / "cut.dcm")
