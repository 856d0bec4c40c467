"""Checks for what a model may have learned instead of the disease."""
