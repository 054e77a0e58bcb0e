"""The floors: what a person would write for the work alone. No journal, no budget, no retry, no
check.
"""
