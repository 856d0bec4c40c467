"""The page in a real browser, on the real server with the shipped bundle: one image and all about it."""

import http.client
import io
import json
import os
import re
import shutil
import subprocess
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
from app_helpers import Page, Server, until
from PIL import Image
from pydicom import dcmread
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from covid_monai.app.sources import EXAMPLES, Example
from covid_monai.core.vocabulary import RESEARCH_USE
from covid_monai.dicom.grayscale import apply_window
from covid_monai.readers import read_radiograph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs chromium and chromium-driver"),
]
MIB = 1 << 20
GREY = """const stage = document.querySelector('.stage canvas');
const picture = stage.getContext('2d').getImageData(0, 0, stage.width, stage.height);
return [...picture.data].filter((_, i) => i % 4 == 0)"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An image with a window of its own, one that is refused, a picture, and a file that is damaged."""
    folder = tmp_path_factory.mktemp("images")
    image = dcmread(io.BytesIO(Example("image", "normal", 4).draw().data))
    image.PatientName, image.PatientID = "Secret^Patient", "SECRET-1"
    image.save_as(folder / "image.dcm")
    (folder / "damaged.dcm").write_bytes((folder / "image.dcm").read_bytes()[:3000])
    (folder / "turned.dcm").write_bytes(EXAMPLES[-1].draw().data)
    grey = (read_radiograph(folder / "image.dcm")[0][0] * 255).astype(np.uint8)
    Image.fromarray(grey).save(folder / "image.jpg", quality=95)
    Image.fromarray(grey).save(folder / "image.png")
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        for name in ("image.jpg", "turned.dcm"):
            archive.write(folder / name, f"images/{name}")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, images):
    running = Server(
        tmp_path_factory.mktemp("server"), "--folder", images, "--max-upload-mib", 8, "--allow-urls"
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    visitor = Page(tmp_path_factory.mktemp("chromium"), tmp_path_factory.mktemp("downloads"))
    yield visitor
    visitor.driver.quit()


@pytest.fixture
def shots(request):
    folder = request.config.getoption("--screenshots")
    return Path(folder) if folder else None


def grey_of(page):
    return np.array(page.driver.execute_script(GREY)).reshape(512, 512)


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


def test_a_dicom_image_from_upload_to_report(page, server, images, shots):
    page.screen(1280)
    page.open(server.url)
    page.upload(images / "image.dcm")
    page.wait_for(".outcome-large", "Normal")
    page.wait_for(".viewer[data-drawn=yes]")

    # The image as the file wants it shown, to one grey level of 255.
    shown = read_radiograph(images / "image.dcm")[0][0] * 255
    until(lambda: np.abs(grey_of(page) - shown).max() <= 1, "the image as it is read")

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
    until(lambda: np.abs(grey_of(page) - expected).max() <= 1, "another window")
    page.click(".view-button", "Invert")
    until(lambda: np.abs(grey_of(page) - (255 - expected)).max() <= 1, "an inverted image")
    page.click(".view-button", "File's window")
    until(lambda: np.abs(grey_of(page) - shown).max() <= 1, "the file's own window")
    page.click(".view-button[aria-label='Zoom in']")
    page.wait_for(".stage-zoom", "1.5")
    page.click(".view-button", "Fit")
    page.wait_until_gone(".stage-zoom")
    if shots:
        page.screenshot(shots / "app-image-1280-light.png")

    check_meaning(page)


def test_downloads_are_what_they_say(page, server, images):
    page.open(server.url)
    page.upload(images / "image.dcm")
    page.wait_for(".viewer[data-drawn=yes]")
    for name in ("PDF report", "JSON", "DICOM SR"):
        page.click(".downloads button", name)
    pdf, record, report = (page.downloaded(suffix) for suffix in (".pdf", ".json", ".dcm"))
    assert "SECRET" not in pdf.name + record.name + report.name
    assert json.loads(record.read_text())["predicted_class"] == "normal"
    if shutil.which("pdftotext"):
        words = subprocess.run(["pdftotext", pdf, "-"], capture_output=True, timeout=60, check=True).stdout
        assert b"Secret" in words
        assert b"Normal" in words
        assert RESEARCH_USE.encode() in words
    if shutil.which("dsrdump"):
        dump = subprocess.run(["dsrdump", report], capture_output=True, timeout=60, check=True).stdout
        assert b"Probability of Normal" in dump
        assert b"Secret^Patient" in dump
    report.unlink()
    page.click(".downloads button", "Secondary Capture")
    capture = dcmread(page.downloaded(".dcm"))
    assert capture.Modality == "OT" or capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert capture.pixel_array.ndim == 3


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


def test_the_way_with_the_keyboard_alone(page, server):
    page.screen(1280)
    page.open(server.url)

    def press(*keys):
        ActionChains(page.driver).send_keys(*keys).perform()
        return page.driver.switch_to.active_element

    def tab_to(what, most=80):
        for _ in range(most):
            here = press(Keys.TAB)
            names = (here.text.split("\n")[-1], here.get_attribute("aria-label"), here.get_attribute("class"))
            if any(what in (name or "") for name in names):
                return here
        return pytest.fail(f"Tab never reaches {what}")

    assert press(Keys.TAB).text == "Skip to the content"
    press(Keys.ENTER)
    tab_to("dropzone-input")
    tab_to("Clear lungs")
    press(Keys.ENTER)
    page.wait_for(".viewer[data-drawn=yes]")
    page.wait_for(".stage-note")
    news = page.driver.find_element(By.CSS_SELECTOR, "[role=status]").get_attribute("textContent")
    assert "Normal" in news
    stage = tab_to("stage")
    assert stage.value_of_css_property("outline-style") == "solid"
    press("+", Keys.ARROW_LEFT)
    page.wait_for(".stage-zoom")
    before = grey_of(page)
    press("0", "i", "h")
    page.wait_until_gone(".stage-zoom")
    page.wait_until_gone(".stage-note")
    until(lambda: (grey_of(page) != before).mean() > 0.5, "an inverted image")
    tab_to("PDF report")
    chord = ActionChains(page.driver).key_down(Keys.ALT).key_down(Keys.SHIFT).send_keys("3")
    chord.key_up(Keys.SHIFT).key_up(Keys.ALT).perform()
    until(lambda: "Model" in page.text(".q-tab--active"), "the tab Model")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_can_be_read_and_nothing_is_cut_off(page, server, shots, width, dark):
    page.screen(width, dark=dark)
    page.open(server.url)
    page.wait_for(".legend")
    assert page.driver.title
    assert page.driver.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en-US"
    assert RESEARCH_USE in page.text(".banner")
    assert page.fits()
    for kind in ("normal", "finding", "uncertain", "refused", "error"):
        assert contrast(page, f".legend .outcome-{kind}") >= 4.5, kind
    for selector in (".banner", ".dim", ".examples button", ".dropzone-title"):
        assert contrast(page, selector) >= 4.5, selector
    if shots:
        page.screenshot(shots / f"app-start-{width}-{'dark' if dark else 'light'}.png")
    page.driver.execute_script("scrollTo(0, document.body.scrollHeight)")
    assert page.wait_for(".banner").rect["y"] <= page.driver.execute_script("return scrollY") + 1


def contrast(page, selector) -> float:
    """Contrast ratio of WCAG 2 between a text and what lies behind it."""
    colours = page.driver.execute_script(
        """const pen = new OffscreenCanvas(1, 1).getContext('2d');
        const numbers = colour => {
            pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
            return [...pen.getImageData(0, 0, 1, 1).data]; };
        let element = arguments[0];
        const text = numbers(getComputedStyle(element).color);
        while (element && numbers(getComputedStyle(element).backgroundColor)[3] < 255)
            element = element.parentElement;
        return [text, numbers(getComputedStyle(element || document.body).backgroundColor)]""",
        page.wait_for(selector),
    )
    light, dark = sorted((luminance(colour[:3]) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour) -> float:
    share = np.array(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_examples_come_with_every_outcome_but_an_error(page, server, images, shots):
    page.screen(1280, dark=True)
    page.open(server.url)
    outcomes = ("Normal", "Pneumonia", "COVID-19", "Uncertain", "Refused")
    for number, (example, outcome) in enumerate(zip(EXAMPLES, outcomes, strict=True)):
        if number:
            page.click(".sources .q-item", "Add images")
        page.click(".examples button", example.title)
        page.wait_for(".image-entry .outcome", outcome)
        page.wait_until_gone(".examples")
    page.click(".image-button", "hard-to-tell")
    page.wait_for(".outcome-large.outcome-uncertain", "Uncertain")
    focused = page.driver.switch_to.active_element
    assert focused.get_attribute("class") == "image-button"
    assert "hard-to-tell" in focused.text
    assert len(page.all(".set .chip")) == 2
    page.wait_for(".sentence", "Pneumonia and COVID-19 are possible")
    page.wait_for(".stage-note")
    if shots:
        page.screenshot(shots / "app-uncertain-1280-dark.png")
    page.upload(images / "image.png")  # what is added is what is looked at
    page.wait_for(".image-entry.current", "image.png")
    page.click("[aria-label='Remove image.png']")
    page.wait_for(".outcome-large.outcome-refused", "Refused")  # the last of those that are left
    page.click("[aria-label^='Remove synthetic-clear']")
    until(lambda: len(page.all(".image-entry")) == 4, "one image less")
    assert page.wait_for(".outcome-large.outcome-refused")  # who forgets another image goes on with this one


def test_a_url_of_the_server_itself_is_not_fetched_and_a_file_too_large_not_taken(page, server, tmp_path):
    page.screen(1280)
    page.open(server.url)
    page.type("input[type=url]", f"{server.url}/health", Keys.ENTER)
    page.wait_for(".q-notification", "private network")
    (tmp_path / "large.dcm").write_bytes(bytes(9 * MIB))
    page.upload(tmp_path / "large.dcm")
    page.wait_for(".q-notification", "large.dcm: The file is larger than 8 MiB")
    assert not page.all(".image-entry")


def test_the_server_folder_gives_its_images_and_no_request_leaves_the_server(page, server):
    page.screen(1280)
    page.driver.get_log("performance")
    page.open(server.url)
    page.click(".source-row button", "Add its images")
    until(lambda: len(page.all(".image-entry")) == 5, "all images of the folder")
    asked = re.findall(r'"url":"((?:https?|wss?)://[^"]+)"', " ".join(map(str, log(page, "performance"))))
    assert len(asked) > 5
    assert all(f"127.0.0.1:{server.port}" in url for url in asked)
    complaints = [entry["message"] for entry in log(page, "browser") if entry["level"] == "SEVERE"]
    assert not complaints


def log(page, kind):
    return page.driver.get_log(kind)


def test_what_a_visitor_left_is_gone_and_no_name_is_in_the_log(page, server, images):
    page.open(server.url)
    page.upload(images / "image.dcm")
    page.wait_for(".viewer[data-drawn=yes]")
    image = page.driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name).find(n => n.includes('/blob/'))"
    )
    assert image.startswith(server.url)
    assert requests.get(image, timeout=60).headers["Cache-Control"] == "no-store"
    page.driver.get("about:blank")
    until(lambda: requests.get(image, timeout=60).status_code == 404, "the image is forgotten")
    assert not re.search("secret|image|patient|Traceback", server.log.read_text(), re.IGNORECASE)


def upload_path(server) -> str:
    with urllib.request.urlopen(server.url, timeout=60) as answer:
        return re.search(r"/_covid_monai/[0-9a-f-]{36}/\d+", answer.read().decode())[0]


def post(server, body, **headers) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", upload_path(server), body=body, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def written(process: int) -> int:
    """Bytes that a process has caused to be written to any disk."""
    counters = Path(f"/proc/{process}/io").read_text()
    return int(re.search(r"^write_bytes: (\d+)", counters, re.MULTILINE)[1])


def test_a_body_that_says_it_is_too_large_is_refused_before_any_byte_of_it_came(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", upload_path(server))
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_a_body_that_does_not_say_its_length_is_refused_when_it_is_too_large(server):
    def pieces():
        for _ in range(20):
            yield bytes(MIB)

    try:
        status = post(server, pieces())
    except (BrokenPipeError, ConnectionResetError):  # the server may close before all is sent
        status = 413
    assert status == 413


def test_nothing_of_an_upload_is_written_to_a_disk(server, tmp_path):
    before = written(os.getpid())
    (tmp_path / "file").write_bytes(bytes(7 * MIB))
    assert written(os.getpid()) - before >= 7 * MIB, "this counter counts nothing here"
    before, files = written(server.process.pid), set(server.temporary.rglob("*"))
    assert post(server, b"\x00" * (7 * MIB), **{"X-File-Name": "secret-image.dcm"}) == 200
    assert written(server.process.pid) - before < MIB
    assert set(server.temporary.rglob("*")) == files
    assert "secret" not in server.log.read_text()
