"""Arrays in, evidence out: scores, intervals, calibration, abstention and paired comparison."""
