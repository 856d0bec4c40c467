"""Published experiments, run again: data, folds, trainings, and a table beside the published figures."""
