"""The model tab: model card, evaluation report, confounding verdict."""

from nicegui import ui

from covid_monai.app.desk import Desk


def build(desk: Desk) -> None:
    """Show the tab for one visitor."""
    ui.label(desk.model.name)
