"""What others ask of a running gateway: commands, the page, Prometheus."""
