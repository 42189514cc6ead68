"""pyarrow.Schema of every table."""
