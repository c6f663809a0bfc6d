"""The examples in backend/deploy/: what an operator copies works."""
