"""Answers for many photos, on one machine or a cluster."""
