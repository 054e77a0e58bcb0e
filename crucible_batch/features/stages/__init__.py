"""Makes jobs from outputs of others."""
