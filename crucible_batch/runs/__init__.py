"""One run, from a request to its result: the path of a run in order, the parts that take part in
it, and plans.
"""
