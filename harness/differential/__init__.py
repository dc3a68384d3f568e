"""Differential testing: random layers on real kernels and through our semantics, with the same bytes demanded."""
