"""A classifier for many callers at once: over HTTP (`api`), and for the page in the browser (`app`).

Importing this package loads neither torch nor FastAPI.
"""
