"""Metrics with 95 % intervals, and the tables they are computed from."""
