"""Service that watches archives over DICOMweb and stores results in them; see docs/pacs.md.

`feeds` finds new images, `rules` selects them, `queue` keeps them, `processor` classifies them and stores the
results, and `retry` decides whether a failed image is tried again. Importing this package loads neither torch
nor MONAI; importing `service` does.
"""
