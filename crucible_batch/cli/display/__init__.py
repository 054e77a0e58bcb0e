"""The progress displays of a run: a live panel, plain lines, lines of JSON, or nothing."""
