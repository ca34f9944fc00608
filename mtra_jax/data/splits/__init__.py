"""Texts and labels of a split: cut, thinned, hashed, and as targets of the losses."""
