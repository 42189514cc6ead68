"""The mask doctor: what is in masks, which convention they follow, what is sick about them."""
