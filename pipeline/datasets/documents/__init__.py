"""The documents that dataset formats are made of: JSON, XML, text tables."""
