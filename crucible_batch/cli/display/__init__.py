"""How a run shows its progress: a live panel, plain lines, lines of JSON, or nothing."""
