"""The configuration changes while it runs: taken over, kept, brought back; and what runs when it is broken."""
