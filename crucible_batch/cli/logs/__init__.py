"""Logs of unattended runs: progress messages and log records as text or JSON, in a file or on stderr."""
