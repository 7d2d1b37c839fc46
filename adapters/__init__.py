"""One folder is one protocol; adapters/README.md tells how to add one."""
