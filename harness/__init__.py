"""Checks of bvverify itself: its kernel models against the real kernels, on generated and recorded cases."""
