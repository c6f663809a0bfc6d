"""What every process needs besides its work: tasks, the ticker, metrics, logging.

May import protocol.
"""
