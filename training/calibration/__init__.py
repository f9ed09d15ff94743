"""Temperature scaling and the rejection rule, fitted on held-out photos."""
