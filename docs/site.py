"""MkDocs hook: what GitHub shows by a link works on the site, too.

Pages link to files of the repository that lie outside docs/: a config, the model card, an example. GitHub
follows such a relative link; a site built from docs/ alone would not have its target. Here README.md becomes
the first page, and every linked file is taken into the site under repository/.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[#/])([^)\s#]+)")


def _site_uri(path: Path) -> str:
    """Where a file of the repository lies on the site."""
    if path == ROOT / "README.md":
        return "index.md"
    docs = ROOT / "docs"
    if path.is_relative_to(docs):
        return path.relative_to(docs).as_posix()
    return f"repository/{path.relative_to(ROOT).as_posix()}"


def _linked(page: Path) -> list[Path]:
    """The files of the repository that a page of Markdown links to."""
    targets = ((page.parent / link).resolve() for link in _LINK.findall(page.read_text(encoding="utf-8")))
    return [target for target in targets if target.is_file() and target.is_relative_to(ROOT)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md, and what pages link to outside docs/, and what those link to."""
    waiting = [ROOT / "README.md", *(Path(str(file.abs_src_path)) for file in files.documentation_pages())]
    while waiting:
        path = waiting.pop()
        uri = _site_uri(path)
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(path)))
        if path.suffix == ".md":
            waiting += [target for target in _linked(path) if not files.get_file_from_path(_site_uri(target))]
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Write links as the site has them."""
    source = Path(str(page.file.abs_src_path))

    def moved(link: re.Match[str]) -> str:
        target = (source.parent / link[1]).resolve()
        if not target.is_file():
            return link[1]  # mkdocs says what is wrong with it
        return posixpath.relpath(_site_uri(target), posixpath.dirname(page.file.src_uri))

    return _LINK.sub(moved, markdown)
