"""What lies on tissue and is none: one module a kind, each with one function from a picture to a mask."""
