"""Tests of backend/worker."""
