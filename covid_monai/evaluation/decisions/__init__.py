"""From probabilities to a decision: calibration, conformal sets, thresholds."""
