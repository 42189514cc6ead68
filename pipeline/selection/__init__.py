"""Which images are worth a look: near-duplicates, what is left out, and what to annotate next."""
