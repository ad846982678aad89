"""Training with and without teleports: loss against steps and seconds, curvature and generalisation at the end."""
