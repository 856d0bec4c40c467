"""The page and the REST service as one application; the frame of the page in a browser."""

import re

import numpy as np
import pytest
import requests
from api_helpers import connected, post, problem, serving
from app_helpers import browser_test, until
from pacs_helpers import wait_until
from results_helpers import SHIPPED
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from covid_monai.api.access import Access
from covid_monai.api.engine import Engine
from covid_monai.api.uploads import MIB, Limits
from covid_monai.app.server import create_app
from covid_monai.app.session import AppContext, ServedModel
from covid_monai.bundle import Bundle
from covid_monai.core.vocabulary import RESEARCH_USE

DICOM = {"Content-Type": "application/dicom"}


@pytest.mark.slow
@pytest.mark.usefixtures("new_nicegui")
def test_rest_and_page_share_one_memory_budget(classifier):
    engine = Engine(classifier)
    limits = Limits(2 * MIB, max_total_bytes=2 * MIB, max_held_bytes=3 * MIB)
    context = AppContext({"model": ServedModel("model", Bundle(SHIPPED), engine)}, limits)
    head = f"Content-Type: application/dicom\r\nContent-Length: {2 * MIB}"
    with serving(create_app(context, Access())) as url:

        def drop(size):
            path = re.search(r"/_covid_monai/[0-9a-f-]{36}/\d+", requests.get(url, timeout=60).text)[0]
            return requests.post(url + path, data=bytes(size), headers={"X-File-Name": "a.dcm"}, timeout=60)

        # REST holds most of it: the page takes no file more, and says what to do.
        with connected(url, head, bytes(2 * MIB - 1)):
            wait_until(lambda: context.budget.held == 2 * MIB - 1, seconds=20, what="the body has arrived")
            answer = drop(3 * MIB // 2)
            assert answer.status_code == 413
            assert "Remove images" in answer.json()["detail"]
        wait_until(lambda: context.budget.held == 0, seconds=20, what="memory is free when it has gone")

        # The page holds most of it: REST is busy.
        assert drop(2 * MIB).ok
        assert context.budget.held == 2 * MIB
        answer = post(url, data=bytes(3 * MIB // 2), headers=DICOM)
        assert "Remove images" in problem(answer, "busy")["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        assert post(url, data=bytes(MIB // 2), headers=DICOM).ok
    engine.close()


@browser_test
def test_the_way_with_the_keyboard_alone(page):

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
    before = page.grey()
    press("0", "i", "h")
    page.wait_until_gone(".stage-zoom")
    page.wait_until_gone(".stage-note")
    until(lambda: (page.grey() != before).mean() > 0.5, "an inverted image")
    tab_to("PDF report")
    chord = ActionChains(page.driver).key_down(Keys.ALT).key_down(Keys.SHIFT).send_keys("3")
    chord.key_up(Keys.SHIFT).key_up(Keys.ALT).perform()
    until(lambda: "Model" in page.text(".q-tab--active"), "the tab Model")


@browser_test
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
