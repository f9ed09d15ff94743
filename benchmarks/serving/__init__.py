"""The page under load and under faults."""
