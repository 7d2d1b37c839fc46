"""What arrays and structures consist of: asked of the server, decoded, and picked apart for the signals.

field_path ─ which part a signal means          definitions ─ what structures and enumerations are, and their bytes
learning ─ definitions from a server            dictionary, standard ─ those of old servers, and of the standard
picking ─ one row per signal
"""
