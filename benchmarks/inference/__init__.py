"""Inference speed, compared with other ways to run the same weights."""
