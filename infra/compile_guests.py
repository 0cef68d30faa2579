"""Compiles WebAssembly modules with the extism of one artifact: a program of its own, for the target's interpreter.

Usage: PYTHON -P -s -S -B compile_guests.py ARTIFACT MODULE...
EXTISM_CACHE_CONFIG names the configuration of the cache that is to be filled. It imports the standard library and the
artifact, nothing else. Prints one JSON object: the milliseconds by module.
Exit codes: 3 when this machine cannot run the artifact's extism, 4 when a module cannot be compiled (reason on stderr).
"""

import json
import sys
import time

CANNOT_RUN, CANNOT_COMPILE = 3, 4


def main(artifact: str, modules: list[str]) -> int:
    """Compiles all modules, in order, and returns the exit code."""
    sys.path.insert(0, artifact)
    try:
        from extism.extism import CompiledPlugin, Error  # noqa: PLC0415 - the artifact's, not the caller's
    except (ImportError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return CANNOT_RUN
    milliseconds = {}
    for module in modules:
        start = time.perf_counter()
        try:
            # Limits, hosts, functions and WASI are no part of the cache's key; the module's bytes, the engine's
            # settings and the CPU's features are
            CompiledPlugin({"wasm": [{"path": module}]}, wasi=True, functions=[])
        except Error as error:
            print(f"{module}: {error}", file=sys.stderr)  # noqa: T201
            return CANNOT_COMPILE
        milliseconds[module] = round(1000 * (time.perf_counter() - start), 1)
    print(json.dumps(milliseconds))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
