"""The batch tab: many films in a table."""

from nicegui import ui

from covid_monai.app.desk import Desk


def build(desk: Desk) -> None:
    """Show the tab for one visitor."""
    ui.label(f"Up to {desk.limits.max_files} films at once.")
