"""Collections that no family knows: their lexicons come from the network, their records are kept
and listed as they are. See `network.lexicons`."""
