"""Answers to photos: as HTML, as JSON and as tables."""
