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
  return reply.type("text/plain; charset=utf-8").send(output.text());
});

export const handler = awsLambdaFastify(fastify);
