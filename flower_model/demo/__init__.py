"""The Gradio page: a photo in, the name of its flower out."""
