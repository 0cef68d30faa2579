"""What runs in Lambda: from an API Gateway event to DynamoDB and back."""
