"""The command that pages of a run show for picked pictures."""

COMMAND = "pick"
