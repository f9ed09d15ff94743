"""Gradio page that names the flower in a photo."""
