"""Asking other nodes as well: see `federation.search` for what is believed of their answers."""
