"""Damaged and hostile files against what opens them."""
