"""Files of phantoms, as other people's software reads them."""

import json
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from phantom_helpers import records, stored_image
from PIL import Image

from covid_monai.phantoms.ct_volume import CT_SPACING_MM
from covid_monai.phantoms.file_formats import PhantomPatient, radiograph_dataset
from covid_monai.phantoms.radiograph import draw_radiograph

PATIENT = PhantomPatient("PHANTOM-0001", sex="F", age=50, seed=1)


def test_polarity_pair_shows_the_same_picture(tmp_path):
    image = draw_radiograph("pneumonia", seed=2, size=128)
    for inverted in (False, True):
        ds = radiograph_dataset(image, PATIENT, number=1, view="PA", inverted=inverted)
        ds.save_as(tmp_path / f"{int(inverted)}.dcm")
    bright, dark = (stored_image(tmp_path / f"{name}.dcm") for name in "01")
    np.testing.assert_allclose(bright, image, atol=1 / 3600)
    np.testing.assert_allclose(dark, bright, atol=1e-6)
    assert pydicom.dcmread(tmp_path / "1.dcm").PhotometricInterpretation == "MONOCHROME1"


def test_every_format_holds_the_image_that_was_drawn(folder):
    for record in records(folder):
        image = stored_image(Path(record["image"]))
        assert image.shape == (128, 128)
        assert 0.2 < image.mean() < 0.8
        assert image[-12:, 40:88].mean() > image[45:65, 30:46].mean(), (
            "bright abdomen, dark lung: right polarity"
        )


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (dicom3tools)")
def test_dicom_is_valid(folder):
    files = [*folder.glob("images/*.dcm"), *folder.glob("ct/PHANTOM-CT-01/*-00[1-3].dcm")]
    assert {pydicom.dcmread(path).Modality for path in files} == {"CR", "DX", "CT"}
    for path in files:
        report = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert report, path
        assert "Error" not in report, f"{path}: {report}"


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="needs dcmdump (DCMTK)")
def test_dcmtk_reads_the_dicom(folder):
    for path in sorted(folder.glob("images/*.dcm"))[:4]:
        dump = subprocess.run(["dcmdump", path], capture_output=True, text=True, check=True).stdout
        assert "Phantom^Synthetic" in dump
        assert "W:" not in dump


def test_every_file_says_that_it_is_synthetic(folder):
    seen = set()
    for path in (path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".dcm":
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            words = [ds.PatientName, ds.ImageComments, ds.StudyDescription, ds.SeriesDescription]
            assert ds.ImageType[0] == "DERIVED"
            assert ds.PatientID.startswith("PHANTOM-")
        elif path.suffix == ".json":
            words = [json.loads(path.read_text())["description"]]
        elif path.suffix == ".gz":
            words = [nib.load(path).header["descrip"].item().decode()]
        elif path.suffix == ".jpg":
            with Image.open(path) as image:
                words = [image.info["comment"].decode(), image.getexif()[0x010E]]
        else:
            with Image.open(path) as image:
                words = [image.text["Description"]]
        assert all("synthetic" in str(word).lower() for word in words), path
        seen.add(path.suffix)
    assert seen == {".dcm", ".json", ".gz", ".jpg", ".png"}


def test_uids_are_unique_and_belong_together(folder):
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
    assert len({ds.SOPInstanceUID for ds in headers}) == len(headers)
    ct = [ds for ds in headers if ds.Modality == "CT"]
    assert len({ds.SeriesInstanceUID for ds in ct}) == len({ds.PatientID for ds in ct}) == 6
    assert all(ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID for ds in headers)


def test_ct_series_and_nifti_are_one_volume(folder):
    series = SimpleITK.ReadImage(
        SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder / "ct" / "PHANTOM-CT-03"))
    )
    nifti = SimpleITK.ReadImage(str(folder / "ct" / "PHANTOM-CT-03.nii.gz"))
    np.testing.assert_allclose(series.GetSpacing(), CT_SPACING_MM)
    in_one_space = SimpleITK.Resample(
        nifti, series, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, -2000.0
    )
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(in_one_space), SimpleITK.GetArrayFromImage(series)
    )
    image = nib.load(folder / "ct" / "PHANTOM-CT-03.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_zooms() == CT_SPACING_MM
