"""Pretrained networks by name: weights, licence, preprocessing and ordered stages."""
