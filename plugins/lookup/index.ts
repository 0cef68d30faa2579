// Answers with the value that the host's memory holds for the key it is given.
//
// Offsets are Extism's: into the memory that the host and the plugin share, not into this module's own.

import { Host, Memory } from "@extism/as-pdk";
// The PDK's classes have no way to set an error, and none to tell an empty block (length 0) from none (offset 0).
import { error_set, length } from "@extism/as-pdk/lib/env";

/** The host's: offset of a key, to offset of that key's value, or 0 when there is no such key. */
@external("extism:host/user", "hostMemoryGet")
declare function hostMemoryGet(key: u64): u64;

/** Reports an error to the host, as valid UTF-8 whatever is in the message; what it returns is the function's result. */
function fail(message: string): i32 {
  const utf8 = String.UTF8.encode(message, false, String.UTF8.ErrorMode.REPLACE);
  error_set(Memory.allocateBytes(Uint8Array.wrap(utf8)).offset);
  return 1;
}

/** Input: a key. Output: its value's bytes, unchanged; none at all when the value is empty. */
export function lookup(): i32 {
  const key = Host.input();
  if (key.length == 0) return fail("no key: the input is empty");

  const value = hostMemoryGet(Memory.allocateBytes(key).offset);
  if (value == 0) return fail("no such key: " + String.UTF8.decode(key.buffer));

  Host.outputMemory(new Memory(value, length(value)));
  return 0;
}
