"""What `convert` does: plan, operator, check, documents, proof."""
