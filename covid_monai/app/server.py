"""The page in the browser and the REST service as one application; banner, tabs and keyboard of the page."""

from pathlib import Path

from fastapi import FastAPI
from nicegui import core, ui
from nicegui.events import KeyEventArguments
from starlette.middleware import Middleware

from covid_monai.api.access import Access
from covid_monai.api.application import create_api
from covid_monai.api.server import ServiceSettings
from covid_monai.app.evaluation import evaluation_of
from covid_monai.app.pages.batch_tab import BatchTab
from covid_monai.app.pages.compare_tab import CompareTab
from covid_monai.app.pages.image_tab import ImageTab
from covid_monai.app.pages.model_tab import build_model_tab, model_card
from covid_monai.app.session import AppContext
from covid_monai.app.visitor_limit import VisitorLimit
from covid_monai.app.widgets import heatmap_viewer
from covid_monai.app.widgets.elements import text
from covid_monai.core.vocabulary import RESEARCH_USE

_SECONDS_TO_RETURN = 5.0  # a visitor who is away longer has left: their images are removed
_CSS = (Path(__file__).parent / "static" / "page.css").read_text(encoding="utf-8")
_TABS = {
    "Image": ("image", ImageTab),
    "Batch": ("view_list", BatchTab),
    "Model": ("info", build_model_tab),
    "Compare": ("compare", CompareTab),
}


def create_app(context: AppContext, access: Access) -> FastAPI:
    """Create the application: the page at /, and the REST service beside it, with one memory budget."""
    settings = ServiceSettings(limits=context.limits, access=access, start_page=False)
    app = create_api(context.model.engine, settings, context.budget)
    heatmap_viewer.add_route(app)
    app.user_middleware.append(Middleware(VisitorLimit))  # inside of `Guard`
    core.sio.eio.cors_allowed_origins = []  # no header allows another origin anything; `Guard` checks origins
    for model in context.models.values():  # read once, before the event loop has visitors that wait
        evaluation_of(model)
        model_card(model.bundle)

    @ui.page("/")
    def page() -> None:
        _build_page(context)

    ui.run_with(
        app,
        title="covid-monai: chest radiographs",
        dark=None,
        language="en-US",
        reconnect_timeout=_SECONDS_TO_RETURN,
        show_welcome_message=False,
    )
    return app


def _build_page(context: AppContext) -> None:
    """Lay out the page for one visitor."""
    ui.add_css(_CSS)
    dark = ui.dark_mode(None)
    with ui.header().classes("top"), ui.element("div").classes("top-rows"):
        with ui.element("div").props("role=note").classes("banner"):
            ui.icon("science").props("aria-hidden=true")
            ui.label(RESEARCH_USE)
        with ui.row().classes("top-bar"):
            ui.html("<h1>covid-monai</h1>", sanitize=False).classes("brand")
            with ui.tabs().props("dense inline-label outside-arrows mobile-arrows") as tabs:
                for name, (icon, _) in _TABS.items():
                    ui.tab(name, icon=icon)
            switch = ui.toggle({None: "Auto", False: "Light", True: "Dark"}).bind_value(dark)
            switch.props("dense flat no-caps role=group aria-label='Colours of the page'").classes("mode")
    with ui.tab_panels(tabs, value="Image", animated=False, keep_alive=True).props("role=main") as panels:
        panels.classes("main")
        for name, (_, build_tab) in _TABS.items():
            with ui.tab_panel(name):
                text("h2", name).classes("sr-only")
                build_tab(context)
    ui.skip_link("Skip to the content", target=panels)
    _shortcuts(tabs)


def _shortcuts(tabs: ui.tabs) -> None:
    """Let Alt, Shift and a number show a tab; single letters stay free for typing."""

    def show(event: KeyEventArguments) -> None:
        pressed = event.action.keydown and event.modifiers.alt and event.modifiers.shift
        number = event.key.code.removeprefix("Digit")
        if pressed and number.isdigit() and 0 < int(number) <= len(_TABS):
            tabs.set_value(list(_TABS)[int(number) - 1])

    ui.keyboard(on_key=show, ignore=[], repeating=False)
