"""Benchmarks: TokenHub against a bare pass-through and a bare hello, in turn, in one run. `make bench`.

What counts are ratios within a run: absolute figures move with the machine. Nothing here is a test.
"""
