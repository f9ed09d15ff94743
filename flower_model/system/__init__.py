"""The machine underneath: files, processor cores and memory."""
