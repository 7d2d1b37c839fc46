"""A shop-floor data gateway: old machines in, safe time series out. Start reading at gateway/README.md."""

__version__ = "0.1.0"
