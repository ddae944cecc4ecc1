"""Exported models at work, without PyTorch: needs NumPy, Pillow, and onnxruntime or OpenVINO, and nothing else.

>>> from headstart import runtime
>>> model = runtime.load("runs/plants-1/export/openvino")  # doctest: +SKIP
>>> model.predict(["photo.jpg"])[0].label  # doctest: +SKIP
'rose'
"""

from headstart.runtime.loading import load
from headstart.runtime.model import Model, Prediction
from headstart.runtime.record import Abstention, ExportRecord
from headstart.runtime.session import Answers, Session

__all__ = ["Abstention", "Answers", "ExportRecord", "Model", "Prediction", "Session", "load"]
