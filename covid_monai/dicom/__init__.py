"""DICOM files: opening, elements, acceptance rules, the grayscale pipeline, pixel data."""
