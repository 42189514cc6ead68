"""The torch modules of the DeepLab family."""
