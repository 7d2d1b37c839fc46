"""Real brokers, stores and machines for the tests, one module each; `setup.sh` in this folder installs them."""
