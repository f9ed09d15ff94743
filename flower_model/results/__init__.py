"""Results files: one row a photo, as CSV, JSON Lines or Parquet."""
