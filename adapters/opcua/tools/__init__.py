"""Tools for a server nobody knows yet: what it has, and the YAML for it. They only read, one request at a time."""
