"""Tests of backend/server/socket_events.py, by behaviour."""
