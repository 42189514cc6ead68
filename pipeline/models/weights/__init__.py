"""Weights files: origins, cache, other projects' layouts, TensorFlow's files."""
