"""Tests of the whole: real servers, real clients, a real browser."""
