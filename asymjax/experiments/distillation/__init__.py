"""Distilled data: made, trained on beside real data, and kept as a dataset that every script takes."""
