"""Everything that makes a weights folder from photos."""
