"""Logs of unattended runs: messages and log records as text or JSON, in a file or on stderr."""
