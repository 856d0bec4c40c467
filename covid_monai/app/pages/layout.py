"""The frame of the page: banner, tabs, light and dark, keyboard."""

from pathlib import Path

from nicegui import ui
from nicegui.events import KeyEventArguments

from covid_monai.app.desk import Desk
from covid_monai.app.pages import batch_tab, compare_tab, image_tab, model_tab
from covid_monai.core.vocabulary import RESEARCH_USE

TITLE = "covid-monai: chest radiographs"
TABS = {
    "Image": ("image", image_tab.build),
    "Batch": ("view_list", batch_tab.build),
    "Model": ("info", model_tab.build),
    "Compare": ("compare", compare_tab.build),
}


def build(desk: Desk) -> None:
    """Lay out the page for one visitor."""
    ui.add_css(Path(__file__).with_name("page.css"))
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
        for name, (_, build_tab) in TABS.items():
            with ui.tab_panel(name):
                with ui.element("h2").classes("sr-only"):
                    ui.label(name)
                build_tab(desk)
    ui.skip_link("Skip to the content", target=panels)
    _shortcuts(tabs)


def _mode_switch(dark: ui.dark_mode) -> None:
    switch = ui.toggle({None: "Auto", False: "Light", True: "Dark"}).bind_value(dark)
    switch.props("dense flat no-caps role=group aria-label='Colours of the page'").classes("mode")


def _shortcuts(tabs: ui.tabs) -> None:
    """Alt, Shift and the number of a tab show it; single letters are left to those who write."""

    def show(event: KeyEventArguments) -> None:
        pressed = event.action.keydown and event.modifiers.alt and event.modifiers.shift
        number = event.key.code.removeprefix("Digit")
        if pressed and number.isdigit() and 0 < int(number) <= len(TABS):
            tabs.set_value(list(TABS)[int(number) - 1])

    ui.keyboard(on_key=show, ignore=[], repeating=False)
