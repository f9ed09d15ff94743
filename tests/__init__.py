"""Tests read as the specification: one behaviour each, in the same folders as the code."""
