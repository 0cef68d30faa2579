"""The article's server on Lambda: FastAPI behind Mangum, the plugin at module level, DynamoDB in the host function."""

import os

import boto3
import extism
from fastapi import FastAPI, Request, Response
from mangum import Mangum

TABLE = os.environ["TABLE"]
WASM = os.environ.get("PLUGIN_WASM", "simple.wasm")
FUNCTION = os.environ.get("PLUGIN_FUNCTION", "say_hello")

dynamodb = boto3.client("dynamodb")


@extism.host_fn(name="hostMemoryGet")
def host_memory_get(key: str) -> str:
    """Reads one value from the table."""
    response = dynamodb.get_item(TableName=TABLE, Key={"key": {"S": key}})
    return response["Item"]["value"]["S"]


plugin = extism.Plugin({"wasm": [{"path": WASM}]}, wasi=True, functions=[host_memory_get])
app = FastAPI()


@app.post("/")
async def call(request: Request) -> Response:
    """Runs the plugin's function with the body as its input."""
    output = plugin.call(FUNCTION, await request.body())
    return Response(output, media_type="text/plain; charset=utf-8")


handler = Mangum(app, lifespan="off")
