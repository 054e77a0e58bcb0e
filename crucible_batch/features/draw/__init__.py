"""Draws: jobs whose axes have lines of lists, each equally often."""
