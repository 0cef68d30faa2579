"""Tests of what stands around the function."""
