"""Counts of truth against prediction, and every number that is computed from them."""
