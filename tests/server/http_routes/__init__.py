"""Tests of backend/server/http_routes.py and cors.py, by behaviour."""
