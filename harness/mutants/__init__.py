"""Mistakes that a person would make, planted one at a time: does the harness notice each of them?"""
