"""From the broker into a time-series store: the writer, the embedded historian, and InfluxDB."""
