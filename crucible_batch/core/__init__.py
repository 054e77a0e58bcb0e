"""What is decided about one run, as pure functions and immutable values: no I/O, no clock, no
randomness.
"""
