"""Picks, ratings and notes of pictures, which pages of ``view --control`` save with a run."""
