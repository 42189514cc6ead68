"""Masks and annotations from one format to another, and the proof of it."""
