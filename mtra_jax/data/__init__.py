"""Files, hub data sets or a seeded grammar -> packed batches of token ids."""
