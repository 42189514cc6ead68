"""What is written per image and per run."""
