"""Networks: what they are, where their weights come from, how pictures go in and logits come out."""
