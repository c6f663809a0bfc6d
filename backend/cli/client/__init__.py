"""A client in Python: asks over Socket.IO or HTTP, and gets the answer whole, whatever breaks.

It needs neither Redis nor a key, and imports nothing of what a server consists of.
"""
