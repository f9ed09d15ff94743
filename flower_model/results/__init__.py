"""Results files: one row per photo, as CSV, JSON Lines or Parquet."""
