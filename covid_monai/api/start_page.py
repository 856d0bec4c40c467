"""The page at / of the REST service: what it is, where its description lies, and a form to try it."""

from html import escape
from importlib import resources
from string import Template

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from covid_monai.api.routes import Context
from covid_monai.core.vocabulary import RESEARCH_USE

router = APIRouter()
_PAGE = Template(resources.files(__package__).joinpath("start.html").read_text("utf-8"))


@router.get("/", include_in_schema=False)
async def start(request: Request, context: Context) -> HTMLResponse:
    """Show the page."""
    classifier = context.engine.classifier
    model = classifier.model
    values = {
        "notice": RESEARCH_USE,
        "model": f"{model['name']} {model['version']}",
        "class_names": ", ".join(classifier.class_names),
        "address": str(request.base_url).rstrip("/"),
    }
    return HTMLResponse(_PAGE.substitute({name: escape(value) for name, value in values.items()}))
