"""Checks and measurements on one GPU: `benchmarks/gpu.sh`."""
