"""The protocol between processes, as pure values: entries, records, requests, errors.

May import nothing of ours: no I/O, no clock but for the time in a record.
"""
