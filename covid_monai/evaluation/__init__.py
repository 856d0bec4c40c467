"""From predicted probabilities to figures that carry their data, split and interval.

The network is not needed here: `predictions.csv` is the whole interface, so that a report can be made
again, or checked by somebody else, without images and without a GPU.
"""
