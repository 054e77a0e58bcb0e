"""Lists runs, and warns of earlier ones."""
