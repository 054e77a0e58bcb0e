"""The viewer: run directories as pages on this machine, updated while they are written.

Read-only without a token.
"""
