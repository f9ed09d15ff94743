"""Training speed and accuracy: comparison with other tools, ablations, and the gain of each trick."""
