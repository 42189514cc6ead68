"""Pages about a run that need no server: one file, opened by a double click."""
