"""Metanetworks fitted to zoos, and what each of them sees."""
