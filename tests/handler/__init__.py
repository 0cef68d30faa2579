"""Tests of what runs in Lambda."""
