"""From the buffer to the broker."""

from gateway.publisher.publisher import Publisher

__all__ = ["Publisher"]
