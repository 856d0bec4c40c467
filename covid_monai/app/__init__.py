"""The page in the browser: images in, the classifier's answer as a person reads it.

It runs on the server of `covid_monai.api`: one process, one loaded model, one set of limits. Importing
this package loads neither torch nor NiceGUI.
"""
