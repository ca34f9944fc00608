"""Texts and labels of a split -> cut, thinned, hashed; targets, and back from outputs."""
