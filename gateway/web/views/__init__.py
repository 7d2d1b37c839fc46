"""What each page shows: pure functions from the board, events, counters and configuration to data for JSON.

Nothing here is called while nobody looks, and nothing here costs polling anything.
"""
