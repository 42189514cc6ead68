"""Networks: what they are, where weights come from, how pictures go in and logits come out."""
