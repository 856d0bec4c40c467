"""The page in the browser: images, their results, and what the models are.

It runs on the server of `covid_monai.api`: one process, one loaded model, one memory budget. Importing this
package loads neither torch nor NiceGUI.
"""
