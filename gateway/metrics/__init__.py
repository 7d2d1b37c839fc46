"""Figures about the gateway itself, for Prometheus: made from what is counted anyway, and only when somebody asks.

`gateway.metrics.exposition` imports prometheus_client, so it is imported only where figures are wanted.
"""
