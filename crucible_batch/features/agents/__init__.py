"""Serves mcp clients within a spending cap."""
