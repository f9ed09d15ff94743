"""Temperature and rejection rule, fitted on photos that trained nothing."""
