"""Benches: what the project promises about speed and memory, measured.

Every bench writes the one result form (bench.results); `--gate` fails where a promise is broken.
"""
