"""Tests of backend.server.consumer_groups."""
