"""Operating system: files, processor cores and memory."""
