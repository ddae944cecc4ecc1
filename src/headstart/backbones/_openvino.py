"""OpenVINO as :mod:`headstart.openvino_import` gives it; the rooms above import it from here."""

from headstart.openvino_import import openvino

__all__ = ["openvino"]
