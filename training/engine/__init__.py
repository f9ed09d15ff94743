"""The run itself: pretrained weights, linear probe, fine-tuning, checkpoints and the forecast of its cost."""
