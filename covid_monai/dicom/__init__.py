"""DICOM files: opening (file), elements, acceptance rules, the grayscale pipeline, pixel data (pixels)."""
