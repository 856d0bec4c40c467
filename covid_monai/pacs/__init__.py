"""DICOMweb client for archives, used by the worker and by the REST service.

`client` fetches, searches and stores; `failures` says whose fault a failed request is.
"""
