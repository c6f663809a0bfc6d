"""Load programs that measure a running backend from outside."""
