"""What `prelabel` and `cutout` do: load, predict, save, documents, proof."""
