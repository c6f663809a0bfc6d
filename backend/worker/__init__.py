"""Takes jobs from the work queue, runs the chain, and writes answers.

May import protocol, runtime, settings, llm and store.
"""
