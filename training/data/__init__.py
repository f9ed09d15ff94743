"""Photos on their way to the network: sources, decoding, sampling, augmentation and batches."""
