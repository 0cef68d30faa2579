"""Tests of the committed plugins, run by Extism alone."""
