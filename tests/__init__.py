"""Tests, file by file as in handler/ and infra/, and of the committed plugins."""
