"""De-identified copies of DICOM images, by the Basic Application Level Confidentiality Profile (PS3.15 E)."""
