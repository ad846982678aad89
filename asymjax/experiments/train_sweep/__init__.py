"""Networks trained side by side, seeds and settings at once."""
