"""Inference with PyTorch or OpenVINO behind a common interface."""
