"""Encoded bytes to RGB pixels: decoding, modes, markers."""
