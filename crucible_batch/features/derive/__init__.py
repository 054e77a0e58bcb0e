"""Further forms of outputs, such as smaller ones for the web: made after an output is saved, and
again at no cost."""
