"""Why a model answers as it does: maps of evidence, the nearest training images, and whether the map matters."""
