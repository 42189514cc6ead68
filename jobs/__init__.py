"""How it is run: the command line and Ray. Nothing imports this package."""
