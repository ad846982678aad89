"""Loss and accuracy on the straight path from each network's start to its end."""
