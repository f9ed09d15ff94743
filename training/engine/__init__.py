"""The training loop: pretrained weights, linear probe, fine-tuning, checkpoints and the cost forecast."""
