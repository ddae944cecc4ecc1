"""Networks that run in PyTorch: loading them from any provider, cutting them into stages, adapting them."""
