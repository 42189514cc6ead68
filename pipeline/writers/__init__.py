"""What a run leaves behind: one file per image (WRITERS), one document per run (FINISHERS)."""
