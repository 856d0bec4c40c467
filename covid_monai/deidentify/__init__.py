"""DICOM images on their way to research: the Basic Application Level Confidentiality Profile (PS3.15 E)."""
