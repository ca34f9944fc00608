"""Files, hub data sets or a seeded grammar in; packed batches of token ids out."""
