"""The weights folder: its config.json, weights and model card, read with every check and written atomically."""
