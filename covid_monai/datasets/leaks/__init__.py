"""Patients and images that stand on both sides of a split."""
