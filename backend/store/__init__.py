"""Every Redis command, and every name of a key or a stream.

May import protocol, runtime and settings.
"""
