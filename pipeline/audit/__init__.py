"""What `audit` does: sides, pairing, operator, tally, diagnosis, document, report, proof."""
