"""The image tab in a browser: where images come from, and the list of them."""

import re

from app_helpers import browser_test, until
from selenium.webdriver.common.keys import Keys

from covid_monai.app.sources import EXAMPLES


@browser_test
def test_examples_come_normal_abnormal_and_refused(page, server, images, shots):
    page.screen(1280, dark=True)
    page.open(server.url)
    outcomes = ("Normal", *["Abnormal, cause not told"] * 3, "Refused")
    for number, (example, outcome) in enumerate(zip(EXAMPLES, outcomes, strict=True)):
        if number:
            page.click(".sources .q-item", "Add images")
        page.click(".examples button", example.title)
        page.wait_for(".image-entry .outcome", outcome)
        page.wait_until_gone(".examples")
    page.click(".image-button", "hard-to-tell")
    page.wait_for(".outcome-large.outcome-finding", "Abnormal, cause not told")
    focused = page.driver.switch_to.active_element
    assert focused.get_attribute("class") == "image-button"
    assert "hard-to-tell" in focused.text
    assert len(page.all(".set .chip")) == 2
    page.wait_for(".sentence", "Pneumonia and covid are both possible")
    page.wait_for(".stage-note")
    if shots:
        page.screenshot(shots / "app-abnormal-1280-dark.png")
    page.upload(images / "image.png")  # what is added is what is looked at
    page.wait_for(".image-entry.current", "image.png")
    page.click("[aria-label='Remove image.png']")
    page.wait_for(".outcome-large.outcome-refused", "Refused")  # the last of those that are left
    page.click("[aria-label^='Remove synthetic-clear']")
    until(lambda: len(page.all(".image-entry")) == 4, "one image less")
    assert page.wait_for(".outcome-large.outcome-refused")  # who forgets another image goes on with this one


@browser_test
def test_a_url_of_the_server_itself_is_not_fetched_and_a_file_too_large_not_taken(page, server, tmp_path):
    page.type("input[type=url]", f"{server.url}/health", Keys.ENTER)
    page.wait_for(".q-notification", "private network")
    (tmp_path / "large.dcm").write_bytes(bytes(9 << 20))
    page.upload(tmp_path / "large.dcm")
    page.wait_for(".q-notification", "large.dcm: The file is larger than 8 MiB")
    assert not page.all(".image-entry")


@browser_test
def test_the_server_folder_gives_its_images_and_no_request_leaves_the_server(page, server):
    page.screen(1280)
    page.click(".source-row button", "Add its images")
    until(lambda: len(page.all(".image-entry")) == 5, "all images of the folder")
    asked = re.findall(r'"url":"((?:https?|wss?)://[^"]+)"', " ".join(map(str, log(page, "performance"))))
    assert len(asked) > 5
    assert all(f"127.0.0.1:{server.port}" in url for url in asked)
    complaints = [entry["message"] for entry in log(page, "browser") if entry["level"] == "SEVERE"]
    assert not complaints


def log(page, kind):
    return page.driver.get_log(kind)
