// The article's server on Lambda: @fastify/aws-lambda in front, DynamoDB behind the host function.
import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import createPlugin from "@extism/extism";
import awsLambdaFastify from "@fastify/aws-lambda";
import Fastify from "fastify";

const dynamodb = new DynamoDBClient({});

async function hostMemoryGet(context, offset) {
  const key = context.read(offset).text();
  const { Item } = await dynamodb.send(
    new GetItemCommand({ TableName: process.env.TABLE, Key: { key: { S: key } } }),
  );
  return context.store(Item.value.S);
}

const plugin = await createPlugin("simple.wasm", {
  useWasi: true,
  runInWorker: true, // a host function that is awaited needs it
  functions: { "extism:host/user": { hostMemoryGet } },
});

const fastify = Fastify();

fastify.post("/", async (request, reply) => {
  const output = await plugin.call("say_hello", request.body);
  const text = output.text();
  await plugin.reset(); // or the blocks of all calls pile up, and run out after 5461 calls of this plugin
  return reply.type("text/plain; charset=utf-8").send(text);
});

export const handler = awsLambdaFastify(fastify);
