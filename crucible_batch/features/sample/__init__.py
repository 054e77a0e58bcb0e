"""Runs of a few jobs of a manifest before all are run: the first ones, or a stable sample."""
