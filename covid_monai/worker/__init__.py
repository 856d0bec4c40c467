"""A service that watches archives over DICOMweb and answers into them; see docs/pacs.md.

Importing this package loads neither torch nor MONAI: `service` does.
"""
