"""Settings that turn probabilities into decisions: fitted on validation, applied unchanged by a prediction.

Every prediction imports these modules, so they import neither scikit-learn nor statsmodels at their top.
"""
