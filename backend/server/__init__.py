"""HTTP and Socket.IO: who may ask, and how answers are followed.

May import protocol, runtime, settings and store; neither worker nor llm.
"""
