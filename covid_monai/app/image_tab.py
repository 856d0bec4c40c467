"""The image tab: one film at a time, with all that is known about it."""

from nicegui import ui

from covid_monai.app.desk import Desk


def build(desk: Desk) -> None:
    """Show the tab for one visitor."""
    ui.label(desk.model.name)
