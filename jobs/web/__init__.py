"""The page of `maskmill view`: a local web server, its guard and its files."""
