"""Loss and accuracy on straight paths between networks."""
