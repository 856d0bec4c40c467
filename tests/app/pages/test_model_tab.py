"""The model tab: what the models are, what was found, and model cards of strangers."""

import json
from html.parser import HTMLParser

import pytest
from app_helpers import browser_test
from hypothesis import given
from hypothesis import strategies as st
from results_helpers import SHIPPED
from selenium.webdriver.common.by import By

from covid_monai.app.pages.model_tab import model_card, render_card
from covid_monai.bundle import Bundle
from covid_monai.bundle.bundle_zip import compute_sha256


@pytest.fixture(scope="module")
def server(two_models):
    """The page with two models."""
    return two_models


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


MARKUP = [
    "<img src=x onerror=a()>",
    "![x](http://e.org/x.png)",
    "[x](javascript:a())",
    "<svg/onload=a()>",
    "<script>a()</script>",
    "&lt;script&gt;",
    "[y](data:text/html,x)",
    "[z](https://example.org)",
    "<https://example.org>",
    "<!--",
    "# a",
    "**b**",
    "`c`",
    "|a|b|\n|-|-|\n|1|2|",
    "\n\n",
    "    ",
]


@given(st.lists(st.sampled_from(MARKUP) | st.text(max_size=20), max_size=8).map("\n".join))
def test_model_card_of_a_stranger_holds_text_tables_and_plain_links_only(text):
    tags = Tags()
    tags.feed(render_card(text))
    words = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "code", "pre", "ul", "ol", "li", "hr"}
    words |= {"table", "thead", "tbody", "tr", "th", "td", "div", "a", "blockquote", "br"}
    for tag, attributes in tags.found:
        assert tag in words
        assert attributes.keys() <= {"href", "title", "class", "style", "start"}
        assert (
            not attributes.get("href", "").lower().startswith(("javascript:", "vbscript:", "data:", "file:"))
        )


def test_the_shipped_model_card_is_rendered_with_its_tables():
    html = model_card(Bundle(SHIPPED))
    assert html is not None
    assert "<strong>Do not believe the headline.</strong>" in html
    assert html.count("<table>") >= 4


@browser_test
def test_model_tab_tells_what_the_models_are_and_what_was_found(page, other_bundle, look):
    page.open_tab("Model")
    text = page.text(".model-body", "SHA-256")
    assert compute_sha256(SHIPPED / "models" / "model.pt") in text
    thresholds = json.loads((SHIPPED / "models" / "operating_point.json").read_text())["thresholds"]
    assert all(f"{value:.3f}" in text for value in thresholds.values())
    assert "Do not believe the headline" in text  # of its model card
    look("model", 1280, dark=True)
    look("model", 390)
    page.screen(1280)

    page.choose_labelled("Model", "other")
    text = page.text(".model-body", compute_sha256(other_bundle / "models" / "model.pt"))
    assert "The label can be predicted from the border alone." in text
    assert page.all(".verdict-found")
    metrics = json.loads((other_bundle / "evaluation" / "metrics.json").read_text())
    assert metrics["verdict"]["result"] in text
    assert len(page.all(".rocs .roc-curve")) == len(page.all(".rocs .roc-point")) == 3

    # Neither card nor report runs a script, nor fetches a picture.
    assert not page.driver.find_elements(By.CSS_SELECTOR, ".model-card script, .model-card img")
    page.click("button", "Open the report")
    frame = page.wait_for("iframe")
    assert frame.get_attribute("sandbox") == ""
    page.driver.switch_to.frame(frame)
    page.wait_for("body", "What was found")
    page.driver.switch_to.default_content()
    look("model-report", 1280)
    assert "taken over" not in page.driver.title
