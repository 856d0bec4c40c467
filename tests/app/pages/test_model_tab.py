"""The model card, also if it comes from a stranger."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from results_helpers import SHIPPED

from covid_monai.app.pages.model_tab import model_card, render_card
from covid_monai.bundle import Bundle


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
