"""A recorded OPC UA server, saying once more what it said."""
