"""Wires everything: finds the adapters, reads the machines, and keeps all of it running."""
