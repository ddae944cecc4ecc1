"""Files on disk, in a zip or in memory → :class:`Dataset`: formats, hashes, duplicates, splits."""

from headstart.data.dataset import Dataset, LeftOut
from headstart.data.listing import list_images
from headstart.data.loading import Source, load
from headstart.data.protocol import Protocol, resolve

__all__ = ["Dataset", "LeftOut", "Protocol", "Source", "list_images", "load", "resolve"]
