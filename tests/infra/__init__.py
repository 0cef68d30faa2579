"""Tests of the command line and what stands around the function."""
