"""Compiled kernels for the CPU, each equal to the reference it replaces."""
