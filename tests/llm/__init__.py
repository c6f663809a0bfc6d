"""Tests of backend/llm."""
