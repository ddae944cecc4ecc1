"""Exports that need PyTorch: programs of torch.export, and ONNX of networks that torch defines."""
