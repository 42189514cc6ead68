"""Predictions against truth: pairing, counting, and where either side is wrong."""
