"""Reading TorchScript graphs node by node: shared by the loader, which abstracts, and the oracle, which executes."""
