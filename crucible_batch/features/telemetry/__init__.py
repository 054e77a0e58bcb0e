"""Metrics of runs, computed from their progress messages.

Each module is imported only by runs that need it: `prometheus_client` takes a while to load.
"""
