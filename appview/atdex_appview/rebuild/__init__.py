"""Deriving anew what is derived from the signed records; see `rebuild.rebuilding`."""
