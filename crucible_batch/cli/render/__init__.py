"""Results and errors as lines and tables for people.

All external text is shown as plain text, without controls.
"""
