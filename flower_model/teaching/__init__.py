"""New classes taught to a finished model from a few photos, without training the network."""
