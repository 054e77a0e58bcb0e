"""Runs of a few jobs of a manifest before the whole: the first ones, or a stable sample."""
