"""Dataset formats: each file reads or writes one layout; samples.py is the hub between them."""
