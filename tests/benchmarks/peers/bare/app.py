"""FastAPI behind Mangum, and two reads from DynamoDB: the stack without any plugin."""

import os

import boto3
from fastapi import FastAPI, Request, Response
from mangum import Mangum

TABLE = os.environ["TABLE"]

dynamodb = boto3.client("dynamodb")
app = FastAPI()


def get(key: str) -> str:
    """Reads one value from the table."""
    response = dynamodb.get_item(TableName=TABLE, Key={"key": {"S": key}})
    return response["Item"]["value"]["S"]


@app.post("/")
async def call(request: Request) -> Response:
    """Answers as the article's plugin does, from the same two values."""
    name = (await request.body()).decode()
    lines = [f"👋 Hello {name}", *(f"key: {key}, value: {get(key)}" for key in ("hello", "message"))]
    return Response("\n".join(lines), media_type="text/plain; charset=utf-8")


handler = Mangum(app, lifespan="off")
