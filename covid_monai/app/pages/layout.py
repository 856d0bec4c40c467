"""The frame of the page: banner, tabs, light and dark, keyboard."""

from pathlib import Path

from nicegui import ui
from nicegui.events import KeyEventArguments

from covid_monai.app.pages.batch_tab import BatchTab
from covid_monai.app.pages.compare_tab import CompareTab
from covid_monai.app.pages.image_tab import ImageTab
from covid_monai.app.pages.model_tab import ModelTab
from covid_monai.app.session import AppContext
from covid_monai.app.widgets.elements import text
from covid_monai.core.vocabulary import RESEARCH_USE

TITLE = "covid-monai: chest radiographs"
TABS = {
    "Image": ("image", ImageTab),
    "Batch": ("view_list", BatchTab),
    "Model": ("info", ModelTab),
    "Compare": ("compare", CompareTab),
}


def build(context: AppContext) -> None:
    """Lay out the page for one visitor."""
    ui.add_css(Path(__file__).parents[1] / "static" / "page.css")
    dark = ui.dark_mode(None)
    with ui.header().classes("top"), ui.element("div").classes("top-rows"):
        with ui.element("div").props("role=note").classes("banner"):
            ui.icon("science").props("aria-hidden=true")
            ui.label(RESEARCH_USE)
        with ui.row().classes("top-bar"):
            ui.html("<h1>covid-monai</h1>", sanitize=False).classes("brand")
            with ui.tabs().props("dense inline-label outside-arrows mobile-arrows") as tabs:
                for name, (icon, _) in TABS.items():
                    ui.tab(name, icon=icon)
            _mode_switch(dark)
    with ui.tab_panels(tabs, value="Image", animated=False, keep_alive=True).props("role=main") as panels:
        panels.classes("main")
        for name, (_, tab_class) in TABS.items():
            with ui.tab_panel(name):
                text("h2", name).classes("sr-only")
                tab_class(context)
    ui.skip_link("Skip to the content", target=panels)
    _shortcuts(tabs)


def _mode_switch(dark: ui.dark_mode) -> None:
    switch = ui.toggle({None: "Auto", False: "Light", True: "Dark"}).bind_value(dark)
    switch.props("dense flat no-caps role=group aria-label='Colours of the page'").classes("mode")


def _shortcuts(tabs: ui.tabs) -> None:
    """Let Alt, Shift and a number show a tab; single letters stay free for typing."""

    def show(event: KeyEventArguments) -> None:
        pressed = event.action.keydown and event.modifiers.alt and event.modifiers.shift
        number = event.key.code.removeprefix("Digit")
        if pressed and number.isdigit() and 0 < int(number) <= len(TABS):
            tabs.set_value(list(TABS)[int(number) - 1])

    ui.keyboard(on_key=show, ignore=[], repeating=False)
