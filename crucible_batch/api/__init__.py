"""The composition root: everything that the command line can do, as functions for programs.

The functions are typed, mostly coroutines, and print nothing: progress goes to an observer, failures are exceptions of
``crucible_batch.errors``, and the outcome of each job is in the result. Settings (key, base URL) come from the
environment unless they are given. ``crucible_batch`` exports those that are stable.
"""
