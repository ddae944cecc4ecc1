"""The promise of offline mode: with ``HEADSTART_OFFLINE=1`` or ``HF_HUB_OFFLINE=1`` no socket is opened."""

from __future__ import annotations

import os

_SWITCHES = ("HEADSTART_OFFLINE", "HF_HUB_OFFLINE")
_OFF = {"", "0", "false", "no", "off"}


def is_offline() -> bool:
    """Whether either variable is set to anything but a word for "no"."""
    return any(os.environ.get(name, "").lower() not in _OFF for name in _SWITCHES)


def go_offline() -> None:
    """Switch the network off for this process and its children."""
    for name in _SWITCHES:
        os.environ[name] = "1"


def silence_hub_telemetry() -> None:
    """Keep the hub's client from sending usage pings; it reads the variable when it is imported."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
