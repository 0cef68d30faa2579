"""Tests of what answers `hostMemoryGet`."""
