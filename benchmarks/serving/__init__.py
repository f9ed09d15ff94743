"""Latency, throughput and fault tolerance of the demo page."""
