"""Zoos: many small networks whose recipes are drawn, made to be read by other networks."""
