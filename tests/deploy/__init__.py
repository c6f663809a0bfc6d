"""The examples in deploy/: what an operator copies works."""
