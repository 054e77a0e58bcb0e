"""Our side of a measurement where the whole command would measure more than is asked."""
