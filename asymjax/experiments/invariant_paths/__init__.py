"""Invariant paths: trained networks walked to where another objective is lower while their function stays."""
