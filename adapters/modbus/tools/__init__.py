"""Tools for a machine nobody knows: scan, dump, guess, import. They only read, and they take their time."""
