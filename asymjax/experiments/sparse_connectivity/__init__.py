"""Sparse networks: masks from several sources, and whether twins trained from one ticket are linearly connected."""
