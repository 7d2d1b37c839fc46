"""From the machines into the buffer: what `edge.py` wires."""
