"""Whether the model hub can be reached, kept to the promise of offline mode, and what a failed fetch means."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from headstart.backbones.names import did_you_mean
from headstart.backbones.offline import is_offline
from headstart.errors import OfflineError

_NETWORK_PACKAGES = ("huggingface_hub", "httpx", "requests", "urllib3")


def hub_is_reachable() -> bool:
    """Whether the hub may be asked and its name can be resolved, without a look-up while offline.

    Where it can't, the hub's client is told so, also if it was imported before: it would try again for half a minute.
    """
    import huggingface_hub.constants

    if is_reachable(huggingface_hub.constants.ENDPOINT):
        return True
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    return False


def is_reachable(url: str) -> bool:
    """Whether a server may be asked and its name can be resolved; while offline, not even that is tried."""
    if is_offline():
        return False
    try:
        socket.getaddrinfo(urlsplit(url).hostname, 443)
    except OSError:
        return False
    return True


def is_connection_problem(error: BaseException) -> bool:
    """Whether a network error lies anywhere in the chain; the hub's client wraps them in its own types."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) or type(seen).__module__.split(".")[0] in _NETWORK_PACKAGES:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def not_here(name: str, cache: str = "the local hub cache") -> OfflineError:
    """The error for weights that are neither on this machine nor within reach."""
    doubt = did_you_mean(name)  # where no hub can be asked, only the catalogue tells a misspelt name
    return OfflineError(
        f"{name}: its weights are not in {cache} and the hub can't be reached; use bundled/tf_efficientnet_lite0, or "
        f"file/DIR with a folder that holds config.json and model.safetensors{doubt and f' ({doubt})'}"
    )
