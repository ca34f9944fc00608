"""Tables in CSV, TSV, JSON lines or Parquet -> rows of checked cells."""
