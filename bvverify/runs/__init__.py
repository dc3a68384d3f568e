"""Runs: thousands of queries under hard limits, kept in a file that a later run goes on from."""
