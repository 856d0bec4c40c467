"""Synthetic radiographs and CT volumes."""
