"""What a model is made of, in tables."""
