"""A bundle's model card as HTML that is safe to show, whoever wrote it."""

from markdown_it import MarkdownIt

from covid_monai.bundle import Bundle

# Markup in the text is shown as text, links keep to safe schemes, and no picture is fetched from anywhere.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def model_card(bundle: Bundle) -> str | None:
    """`docs/README.md` of the bundle as HTML; None if it has none."""
    path = bundle.root / "docs" / "README.md"
    return render_card(path.read_text(encoding="utf-8")) if path.is_file() else None


def render_card(text: str) -> str:
    r"""Markdown to HTML, with tables that scroll on a narrow screen.

    >>> render_card("**safe** <script>alert(1)</script> [x](javascript:alert(1))")
    '<p><strong>safe</strong> &lt;script&gt;alert(1)&lt;/script&gt; [x](javascript:alert(1))</p>\n'
    """
    html = _MARKDOWN.render(text)
    return html.replace("<table>", '<div class="scrolls"><table>').replace("</table>", "</table></div>")
