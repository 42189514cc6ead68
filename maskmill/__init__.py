"""maskmill from Python: what the commands do, as functions."""
