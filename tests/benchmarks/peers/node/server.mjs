// The article's server: one plugin for all requests, and a Map behind its host function.
import createPlugin from "@extism/extism";
import Fastify from "fastify";

const memory = new Map([
  ["hello", "👋 Hello World 🌍"],
  ["message", "I 💜 Extism 😍"],
]);

function hostMemoryGet(context, offset) {
  return context.store(memory.get(context.read(offset).text()));
}

const plugin = await createPlugin(process.env.PLUGIN_WASM ?? "simple.wasm", {
  useWasi: true,
  functions: { "extism:host/user": { hostMemoryGet }, env: { hostMemoryGet } },
});

const fastify = Fastify();

fastify.post("/", async (request, reply) => {
  const output = await plugin.call("say_hello", request.body);
  const text = output.text();
  await plugin.reset(); // or the blocks of all calls pile up, and run out after 5461 calls of this plugin
  return reply.type("text/plain; charset=utf-8").send(text);
});

await fastify.listen({ port: Number(process.env.PORT ?? 7070), host: "127.0.0.1" });
