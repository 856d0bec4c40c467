"""Pixel data of a DICOM file: codestream checks, decoders, decoding at reduced size."""
