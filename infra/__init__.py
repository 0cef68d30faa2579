"""What stands around the function: command line, local DynamoDB, build, seed data and example events."""
