"""Conformance of one deployed model: every predicted byte against the kernels of this machine, with a certificate."""
