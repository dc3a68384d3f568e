"""Targets, and lowering of a QuantizedModel to what a target computes: the only place where rounding and saturation
live.
"""
