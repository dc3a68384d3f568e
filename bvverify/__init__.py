"""Exact verification of quantized neural networks: verdicts about the bytes that the deployed kernel computes."""
