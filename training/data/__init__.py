"""The data pipeline: sources, decoding, sampling, augmentation and batches."""
