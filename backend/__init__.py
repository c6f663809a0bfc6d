"""Streams an LLM's answer to the browser through Redis Streams."""

__version__ = "0.1.0"
