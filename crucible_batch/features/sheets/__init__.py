"""Sheets: rows of spreadsheets as tables for ``foreach``."""
