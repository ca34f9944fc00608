"""The files of a run: what is written into its directory, and how it is read back."""
