"""Running the network: PyTorch or OpenVINO behind one call."""
