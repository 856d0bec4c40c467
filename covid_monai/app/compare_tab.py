"""The compare tab: two bundles on the same film."""

from nicegui import ui

from covid_monai.app.desk import Desk


def build(desk: Desk) -> None:
    """Show the tab for one visitor."""
    ui.label(f"{len(desk.models)} models.")
