"""Tests of backend/protocol."""
