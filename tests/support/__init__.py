"""Helpers of the tests: a Hub on loopback, commands, drawn pictures, injected faults."""
