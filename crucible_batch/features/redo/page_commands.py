"""The command that pages of a run show for rejected pictures; without it, nothing is rejected."""

COMMAND = "reject"
