"""The client in Python, part by part."""
