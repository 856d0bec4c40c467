"""The page at / of the REST service, and that its form and links lead somewhere."""

import re

import pytest
import requests
from api_helpers import SETTINGS, in_process, jpeg, post
from app_helpers import Page, browser_test

from covid_monai.api.access import Access, ApiKeys
from covid_monai.api.server import ServiceSettings
from covid_monai.core.vocabulary import RESEARCH_USE

KEY = "0123456789abcdef-planted"


@pytest.mark.slow
def test_the_page_says_what_the_service_is_and_its_links_lead_somewhere(service, engine):
    answer = requests.get(service, timeout=60)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert RESEARCH_USE in answer.text
    assert engine.classifier.model["name"] in answer.text
    assert f"files=@image.dcm {service}/v1/predict" in answer.text
    links = re.findall(r'href="([^"]+)"', answer.text)
    assert len(links) == 4
    for link in links:
        assert requests.get(f"{service}/{link}", timeout=60).ok, link
    for action in re.findall(r'action="([^"]+)"', answer.text):
        assert post(service, f"/{action}", files={"files": ("a.jpg", jpeg())}).ok, action
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", answer.text)  # nothing from other servers
    assert "/" not in requests.get(f"{service}/openapi.json", timeout=60).json()["paths"]


def test_the_page_needs_the_key_that_the_operations_need(engine):
    settings = ServiceSettings(limits=SETTINGS.limits, access=Access(keys=ApiKeys({"ward": KEY})))
    with in_process(engine, settings) as service:
        assert requests.get(service, timeout=60).status_code == 401
        assert requests.get(service, auth=("ward", KEY), timeout=60).ok


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_address_for_programs_is_the_one_that_was_asked(service, host):
    port = service.rpartition(":")[2]
    page = requests.get(f"http://{host}:{port}/", timeout=60).text
    assert f"http://{host}:{port}/v1/predict" in page


@browser_test
def test_a_person_can_try_an_image_in_the_browser(service, image, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    browser = Page(tmp_path / "profile", tmp_path / "downloads").driver
    try:
        browser.get(service)
        browser.find_element("css selector", "#files").send_keys(str(image))
        browser.find_element("css selector", "button").click()
        WebDriverWait(browser, 60).until(lambda page: '"predictions"' in page.page_source)
        assert browser.current_url == f"{service}/v1/predict"
    finally:
        browser.quit()
