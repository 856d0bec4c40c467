"""One image and its result in a browser: pixels, window, heat map, operating point, refusals."""

import re

import numpy as np
from app_helpers import browser_test, until
from pydicom import dcmread
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from covid_monai.dicom.grayscale import apply_window
from covid_monai.readers import read_radiograph


def check_meaning(page):
    """It depends on the prevalence and on the operating point."""
    seen = []
    for value in ("50", "95"):
        page.type(".prevalence-field input", Keys.CONTROL, "a")
        page.type(".prevalence-field input", value, Keys.TAB)
        page.wait_for(".thousand", f"{int(value) * 10} are Normal")
        seen.append(float(re.search(r"in ([\d.]+) %", page.text(".ppv"))[1]))
    assert seen[0] < seen[1]
    page.choose(".operating-point", "Find 95 % of COVID-19")
    page.wait_for(".outcome-large.outcome-not-called", "Not called COVID-19")
    page.wait_for(".images .outcome-not-called")
    page.wait_for(".roc-point")
    page.choose(".operating-point", "The model's own thresholds")
    page.wait_for(".outcome-large.outcome-normal")


@browser_test
def test_a_dicom_image_from_upload_to_report(page, images, shots):
    page.upload(images / "image.dcm")
    page.wait_for(".outcome-large", "Normal")
    page.wait_for(".viewer[data-drawn=yes]")
    page.wait_for(".source-shift", "The image resembles the training images of")
    page.wait_for(".lungs", "Lungs found:")

    # The image as the file wants it shown, to one grey level of 255.
    shown = read_radiograph(images / "image.dcm")[0][0] * 255
    until(lambda: np.abs(page.grey() - shown).max() <= 1, "the image as it is read")

    # Heat map: there, for the class, and as strong as the slider says.
    page.wait_for(".stage-note", "Normal")
    heat = page.driver.find_element(By.CSS_SELECTOR, ".stage .heat")
    until(lambda: heat.get_property("naturalWidth"), "the heat map")
    assert heat.value_of_css_property("opacity") == "0.55"
    page.slide("opacity", 0.2)
    until(lambda: heat.value_of_css_property("opacity") == "0.2", "a fainter heat map")
    page.choose(".heat-class", "COVID-19")
    page.wait_for(".stage-note", "COVID-19")

    # Window: as apply_window computes it from the stored values; then back to the file's own.
    ds = dcmread(images / "image.dcm")
    page.slide("center", 1500)
    expected = apply_window(ds.pixel_array.astype(float), center=1500, width=ds.WindowWidth) * 255
    until(lambda: np.abs(page.grey() - expected).max() <= 1, "another window")
    page.click(".view-button", "Invert")
    until(lambda: np.abs(page.grey() - (255 - expected)).max() <= 1, "an inverted image")
    page.click(".view-button", "File's window")
    until(lambda: np.abs(page.grey() - shown).max() <= 1, "the file's own window")
    page.click(".view-button[aria-label='Zoom in']")
    page.wait_for(".stage-zoom", "1.5")
    page.click(".view-button", "Fit")
    page.wait_until_gone(".stage-zoom")
    if shots:
        page.screenshot(shots / "app-image-1280-light.png")

    check_meaning(page)


@browser_test
def test_refused_and_damaged_files_and_pictures_look_unlike_a_normal_image(page, server, images, shots):
    page.screen(390, dark=True)
    page.open(server.url)
    page.upload(images / "two.zip", images / "damaged.dcm")
    until(lambda: len(page.all(".image-entry")) == 3, "three images")
    page.wait_for(".viewer[data-drawn=yes]")
    assert page.fits()
    page.wait_for(".viewer-sliders", "Brightness")
    assert not any("SR" in text for text in page.texts(".downloads button"))
    for old in page.downloads.iterdir():
        old.unlink()
    page.click(".downloads button", "PDF report")
    assert page.downloaded(".pdf").read_bytes().startswith(b"%PDF")
    if shots:
        page.screenshot(shots / "app-image-390-dark.png")
    page.click(".image-button", "turned.dcm")
    page.wait_for(".outcome-large.outcome-refused", "Refused")
    page.wait_for(".detail-cards", "turned to the left")
    for old in page.downloads.iterdir():
        old.unlink()
    page.click(".downloads button", "PDF report")
    assert page.downloaded(".pdf").read_bytes().startswith(b"%PDF")
    assert page.fits()
    if shots:
        page.screenshot(shots / "app-refused-390-dark.png")
    page.click(".image-button", "damaged.dcm")
    page.wait_for(".outcome-large.outcome-error", "Error")
    assert "Normal" not in page.text(".detail").replace("not normal", "")
    page.screen(1280)
    looks = set()
    for kind in ("normal", "refused", "error"):
        small = page.wait_for(f".image-entry .outcome-{kind}")
        icon = small.find_element(By.CSS_SELECTOR, ".q-icon").get_attribute("textContent")
        looks.add((small.value_of_css_property("color"), icon, small.text.split()[-1]))
    colours, icons, words = zip(*looks, strict=True)
    assert len(set(colours)) == len(set(icons)) == len(set(words)) == 3
