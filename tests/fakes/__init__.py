"""Hand-written stand-ins for what the project talks to."""
