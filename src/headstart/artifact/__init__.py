"""The saved model: a folder with ``model.safetensors`` and ``model.json``, and nothing that could run code."""
