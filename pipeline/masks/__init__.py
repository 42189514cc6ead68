"""Mask codecs: bytes <-> LabelMask, and run-length encoding."""
