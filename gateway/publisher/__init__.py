"""From the buffer to the broker."""

from gateway.publisher.publisher import Content, Publisher

__all__ = ["Content", "Publisher"]
