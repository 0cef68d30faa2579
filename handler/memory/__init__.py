"""What answers `hostMemoryGet`: a small protocol, DynamoDB, and the article's Map."""
