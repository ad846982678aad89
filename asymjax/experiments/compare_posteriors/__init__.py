"""A study: posteriors of several models side by side."""
