"""Published experiments, re-run whole: data, folds, trainings, one table beside the published figures."""
