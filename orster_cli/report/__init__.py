"""Writes the figures of an evaluation as HTML, Markdown, JSON and CSV, and compares two reports."""
