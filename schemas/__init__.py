"""What the data looks like: arrays, labels, tables, documents, errors. No torch, no ray."""
