"""How many jobs are in flight, how fast requests are sent, and when jobs are polled.

Pure: times are arguments.
"""
