"""Metrics and traces of runs, computed from their progress messages.

Each module is imported only by runs that need it: `prometheus_client` and OpenTelemetry take a while to load.
"""
