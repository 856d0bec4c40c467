"""The REST service: one classifier for many callers. The page (`covid_monai.app`) runs on the same server.

Importing this package loads neither torch nor FastAPI.
"""
