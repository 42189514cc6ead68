"""How a picture is shown to a network, and where its grid lies."""
