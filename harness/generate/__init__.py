"""Random models and inputs that go where kernels differ."""
