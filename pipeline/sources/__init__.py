"""Where the pictures come from: one module per kind of source, each a lazy list of entries."""
