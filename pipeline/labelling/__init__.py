"""Logit grids to masks: upsampling, pruning, fusion, confidence."""
