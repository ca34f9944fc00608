"""Figures of runs and analyses -> pictures in one style, PNG and PDF."""
