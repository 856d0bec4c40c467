"""The frame of the page and its tabs."""
