"""Tests of backend/runtime."""
