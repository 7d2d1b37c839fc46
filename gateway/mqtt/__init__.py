"""What publisher, store and commands share: the link to the broker, topics and payloads."""
