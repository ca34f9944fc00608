"""The built-in benchmarks: publishers' files, the hub, a seeded grammar -> examples."""
