"""The service: exported models answer over HTTP, without PyTorch; needs the extra ``serve``."""
