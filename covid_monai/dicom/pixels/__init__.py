"""Pixel data of a DICOM file: decoding whole and at reduced size, JPEG stream checks, colour that is grey."""
