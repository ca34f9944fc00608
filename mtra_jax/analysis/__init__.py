"""Representations, gradients and models -> what a table or figure says about them.

Pure functions of arrays, for any JAX code: nothing here reads a file or knows a method.
Means, distances and clusters are computed by NumPy in float64; what needs a gradient
runs in JAX, in the precision of its inputs.
"""
