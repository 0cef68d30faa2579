"""Small guests in WebAssembly text, one for each thing that a plugin may do, and what writes them into plugin folders.

Every guest is a constant: the text of a module whose function `run` does what the constant's docstring says. Extism
compiles the text itself.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import wasmtime

KERNEL = """
(import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
(import "extism:host/env" "length" (func $length (param i64) (result i64)))
(import "extism:host/env" "length_unsafe" (func $length_unsafe (param i64) (result i64)))
(import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
(import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
(import "extism:host/env" "input_offset" (func $input_offset (result i64)))
(import "extism:host/env" "input_length" (func $input_length (result i64)))
(import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
(import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
(import "extism:host/env" "error_set" (func $error_set (param i64)))
(import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
"""
"""What Extism's kernel gives every guest, as far as these guests use it."""

MEMORY_GET = '(import "extism:host/user" "hostMemoryGet" (func $get (param i64) (result i64)))'
"""The host function, where today's PDKs look for it."""

MEMORY_GET_IN_ENV = '(import "env" "hostMemoryGet" (func $get (param i64) (result i64)))'
"""The host function, where the article's TinyGo `//export` looks for it."""

HELPERS = """
;; A block of Extism's memory with the bytes of this module's memory at $at.
(func $text (param $at i32) (param $size i32) (result i64)
  (local $block i64) (local $i i32)
  (local.set $block (call $alloc (i64.extend_i32_u (local.get $size))))
  (block $end (loop $next
    (br_if $end (i32.ge_u (local.get $i) (local.get $size)))
    (call $store_u8 (i64.add (local.get $block) (i64.extend_i32_u (local.get $i)))
      (i32.load8_u (i32.add (local.get $at) (local.get $i))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))
  (local.get $block))

;; Makes a block the output.
(func $answer (param $block i64)
  (call $output_set (local.get $block) (call $length (local.get $block))))

;; Makes a number the output, in decimal digits.
(func $answer_number (param $number i64)
  (local $at i64) (local $end i64)
  (local.set $end (i64.add (call $alloc (i64.const 20)) (i64.const 20)))
  (local.set $at (local.get $end))
  (loop $next
    (local.set $at (i64.sub (local.get $at) (i64.const 1)))
    (call $store_u8 (local.get $at)
      (i32.wrap_i64 (i64.add (i64.rem_u (local.get $number) (i64.const 10)) (i64.const 48))))
    (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
    (br_if $next (i64.ne (local.get $number) (i64.const 0))))
  (call $output_set (local.get $at) (i64.sub (local.get $end) (local.get $at))))

;; The number that the input spells in decimal digits.
(func $input_number (result i64)
  (local $number i64) (local $i i64)
  (block $end (loop $next
    (br_if $end (i64.ge_u (local.get $i) (call $input_length)))
    (local.set $number (i64.add (i64.mul (local.get $number) (i64.const 10))
      (i64.sub (i64.extend_i32_u (call $input_load_u8 (local.get $i))) (i64.const 48))))
    (local.set $i (i64.add (local.get $i) (i64.const 1)))
    (br $next)))
  (local.get $number))
"""


def guest(body: str, *, imports: str = "", memory: str = "1") -> str:
    """A module whose exported function `run` has this body, with the kernel's functions and the helpers above it.

    The body leaves an i32 on the stack: what the function returns.
    """
    return module(f'(func $run (export "run") (result i32) {body})', imports=imports, memory=memory)


def module(definitions: str, *, imports: str = "", memory: str = "1") -> str:
    """A module with the kernel's functions, the helpers and these definitions."""
    return f'(module {KERNEL} {imports} (memory (export "memory") {memory}) {HELPERS} {definitions})'


OK = "(i32.const 0)"

ECHO = guest(f"(call $output_set (call $input_offset) (call $input_length)) {OK}")
"""Answers with its input."""

SILENT = guest(OK)
"""Answers with nothing."""

TRAP = guest("unreachable")
"""Traps."""

ENDLESS = guest(f"(loop $again (br $again)) {OK}")
"""Never ends."""

GROW = guest(f"(drop (memory.grow (i32.const 2000))) {OK}")
"""Grows its linear memory by 2,000 pages."""

ALLOCATE = guest(f"(drop (call $alloc (i64.const 131072000))) {OK}")
"""Allocates 2,000 pages in Extism's memory."""

RECURSE = module('(func $run (export "run") (result i32) (i32.add (call $run) (i32.const 1)))')
"""Calls itself without end."""

RETURNS_SEVEN = guest("(i32.const 7)")
"""Returns 7 and sets no error."""

RETURNS_NOTHING = module('(func (export "run") (call $output_set (call $input_offset) (call $input_length)))')
"""Answers with its input; the function has no result, as PDKs for some languages export it."""

COMPLAINT = '(data (i32.const 0) "no such customer \\f0\\9f\\98\\95")'
COMPLAINT_TEXT = "no such customer 😕"
_complain = "(call $error_set (call $text (i32.const 0) (i32.const 21)))"

SETS_ERROR = module(f'{COMPLAINT} (func (export "run") (result i32) {_complain} (i32.const 1))')
"""Sets an error and returns 1."""

SETS_ERROR_RETURNS_ZERO = module(f'{COMPLAINT} (func (export "run") (result i32) {_complain} {OK})')
"""Sets an error and returns 0."""

SETS_ERROR_TRAPS = module(f'{COMPLAINT} (func (export "run") (result i32) {_complain} unreachable)')
"""Sets an error and traps, as AssemblyScript's abort does."""

SETS_ERROR_LOOPS = module(f'{COMPLAINT} (func (export "run") (result i32) {_complain} (loop $again (br $again)) {OK})')
"""Sets an error and never ends."""

SETS_ERROR_NOT_UTF8 = module(
    '(data (i32.const 0) "bad \\ff\\fe") (func (export "run") (result i32)'
    " (call $error_set (call $text (i32.const 0) (i32.const 6))) (i32.const 1))"
)
"""Sets an error that is not UTF-8."""

SETS_EMPTY_ERROR = guest("(call $error_set (call $alloc (i64.const 0))) (i32.const 1)")
"""Sets an error without a text."""

ANSWERS_SIZE = guest(
    """(local $block i64)
    (local.set $block (call $alloc (call $input_number)))
    (call $output_set (local.get $block) (call $input_number))
    (i32.const 0)"""
)
"""Answers with as many zero bytes as its input says."""

COUNTER = module(
    """(global $count (mut i64) (i64.const 0))
    (func (export "run") (result i32)
      (global.set $count (i64.add (global.get $count) (i64.const 1)))
      (call $answer_number (global.get $count)) (i32.const 0))
    (func (export "trap") (result i32) unreachable)
    (func (export "loop") (result i32) (loop $again (br $again)) (i32.const 0))
    (func (export "grow") (result i32) (drop (memory.grow (i32.const 2000))) (i32.const 0))
    (func (export "fail") (result i32) (i32.const 7))
    (func (export "big") (result i32) (call $output_set (call $alloc (i64.const 5000)) (i64.const 5000)) (i32.const 0))
    (func (export "read") (result i32) (drop (call $get (call $text (i32.const 0) (i32.const 4)))) (i32.const 0))
    (func (export "echo") (result i32) (call $output_set (call $input_offset) (call $input_length)) (i32.const 0))
    (data (i32.const 0) "none")""",
    imports=MEMORY_GET,
)
"""`run` answers with how often it was called in this instance; the other functions each do what their name says."""

COUNTER_FUNCTIONS = ["run", "trap", "loop", "grow", "fail", "big", "read", "echo"]

OTHER_EXPORTS = module(
    f"""(func (export "other") (result i32) {OK})
    (func (export "with_parameter") (param i32) (result i32) {OK})
    (func (export "two_results") (result i32 i32) (i32.const 0) (i32.const 0))
    (func (export "result_i64") (result i64) (i64.const 0))
    (global (export "not_a_function") i32 (i32.const 0))"""
)
"""Exports no `run`; `with_parameter`, `two_results` and `result_i64` are no functions that Extism can call."""

UNKNOWN_IMPORT = guest(f"(call $nobody) {OK}", imports='(import "extism:host/user" "nobodyGrantsThis" (func $nobody))')
"""Needs a host function that nobody gives."""

UNKNOWN_KERNEL_IMPORT = guest(
    f"(call $nobody) {OK}", imports='(import "extism:host/env" "from_the_future" (func $nobody))'
)
"""Needs a function of Extism's that this Extism has not."""

WRONG_SIGNATURE = guest(
    f"(drop (call $get (i32.const 0))) {OK}",
    imports='(import "extism:host/user" "hostMemoryGet" (func $get (param i32) (result i32)))',
)
"""Imports `hostMemoryGet` with 32-bit parameters."""

NEEDS_WASI = guest(
    "(call $exit (i32.const 3)) (i32.const 0)",
    imports='(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))',
)
"""Ends itself with exit code 3 through WASI."""

EXIT_ZERO = guest(
    "(call $output_set (call $input_offset) (call $input_length)) (call $exit (i32.const 0)) unreachable",
    imports='(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))',
)
"""Answers with its input and ends itself with exit code 0 through WASI."""

GET = guest(
    f"(call $answer (call $get (call $input_offset))) {OK}",
    imports=MEMORY_GET,
)
"""Answers with the value of the key that its input is."""

GET_IN_ENV = guest(f"(call $answer (call $get (call $input_offset))) {OK}", imports=MEMORY_GET_IN_ENV)
"""As GET, with the host function imported from `env`."""

GET_AT = guest(
    f"(drop (call $get (call $input_number))) (call $output_set (call $input_offset) (call $input_length)) {OK}",
    imports=MEMORY_GET,
)
"""Asks for the key at the offset that its input spells (as an unsigned number) and answers with its input."""

TELL = guest(
    f"""(local $value i64)
    (local.set $value (call $get (call $input_offset)))
    (call $answer_number (i64.add
      (i64.mul (i64.const 10000000000) (i64.extend_i32_u (i64.ne (local.get $value) (i64.const 0))))
      (i64.add
        (i64.mul (i64.const 100000) (call $length (local.get $value)))
        (call $length_unsafe (local.get $value)))))
    {OK}""",
    imports=MEMORY_GET,
)
"""Tells what `hostMemoryGet` gave for the key that its input is, as one number.

From the left: one digit, 1 for an offset that is not 0; five digits, what `length` says of it; five digits, what
`length_unsafe` says.
"""

TELL_MISSING = b"0"
TELL_EMPTY = b"1" + b"00000" * 2


def tell_value(size: int) -> bytes:
    """What TELL answers for a value of that many bytes."""
    return b"1" + f"{size:05}".encode() * 2


SWALLOWS_FAILURE = module(
    """(data (i32.const 0) "hello")
    (func (export "run") (result i32)
      (drop (call $get (call $input_offset)))
      (drop (call $get (call $text (i32.const 0) (i32.const 5))))
      (call $answer (call $text (i32.const 0) (i32.const 5))) (i32.const 0))""",
    imports=MEMORY_GET,
)
"""Asks for the key that its input is, does not look at the answer, asks for `hello` and answers "hello"."""

LOOPS_AFTER_FAILURE = guest(
    f"(drop (call $get (call $input_offset))) (loop $again (br $again)) {OK}", imports=MEMORY_GET
)
"""Asks for the key that its input is and never ends."""

TRAPS_AFTER_READ = guest("(drop (call $get (call $input_offset))) unreachable", imports=MEMORY_GET)
"""Asks for the key that its input is and traps."""

GETS_FOREVER = guest(f"(loop $again (drop (call $get (call $input_offset))) (br $again)) {OK}", imports=MEMORY_GET)
"""Asks for the key that its input is again and again, without end."""

GETS_WHEN_INITIALIZED = module(
    """(data (i32.const 0) "hello")
    (global $value (mut i64) (i64.const 0))
    (func (export "_initialize")
      (global.set $value (call $length (call $get (call $text (i32.const 0) (i32.const 5))))))
    (func (export "run") (result i32) (call $answer_number (global.get $value)) (i32.const 0))""",
    imports=MEMORY_GET,
)
"""Reads `hello` in `_initialize`, which Extism runs in the first call; answers with the value's length."""

TRAPS_WHEN_INITIALIZED = module(f'(func (export "_initialize") unreachable) (func (export "run") (result i32) {OK})')
"""Traps in `_initialize`."""

TRAPS_AT_START = module(f'(func $start unreachable) (start $start) (func (export "run") (result i32) {OK})')
"""Traps in its start function."""

FIRST_TWO_BYTES = guest(
    """(local $value i64) (local $block i64)
    (local.set $value (call $get (call $input_offset)))
    (local.set $block (call $alloc (i64.const 2)))
    (call $store_u8 (local.get $block) (call $load_u8 (local.get $value)))
    (call $store_u8 (i64.add (local.get $block) (i64.const 1))
      (call $load_u8 (i64.add (local.get $value) (i64.const 1))))
    (call $answer (local.get $block))
    (i32.const 0)""",
    imports=MEMORY_GET,
)
"""Answers with the first two bytes of the value of the key that its input is."""

OUTPUT_AT = module(
    """(func $part (param $from i64) (param $to i64) (result i64)
      (local $number i64)
      (block $end (loop $next
        (br_if $end (i64.ge_u (local.get $from) (local.get $to)))
        (local.set $number (i64.add (i64.mul (local.get $number) (i64.const 10))
          (i64.sub (i64.extend_i32_u (call $input_load_u8 (local.get $from))) (i64.const 48))))
        (local.set $from (i64.add (local.get $from) (i64.const 1)))
        (br $next)))
      (local.get $number))
    (func (export "run") (result i32)
      (call $output_set (call $part (i64.const 0) (i64.const 20)) (call $part (i64.const 21) (i64.const 41)))
      (i32.const 0))"""
)
"""Sets as its output the offset and the length that its input spells: two numbers of 20 digits and a space."""

CONFIG = module(
    f"""(data (i32.const 0) "greeting")
    (func (export "run") (result i32)
      (call $answer (call $config_get (call $text (i32.const 0) (i32.const 8)))) {OK})"""
)
"""Answers with the value of `greeting` in its config."""

WASI_ENVIRONMENT = guest(
    f"""(if (call $sizes (i32.const 0) (i32.const 4)) (then unreachable))
    (call $answer_number (i64.extend_i32_u (i32.load (i32.const 0)))) {OK}""",
    imports='(import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))',
)
"""Answers with the number of environment variables that WASI shows."""

WASI_ARGUMENTS = guest(
    f"""(if (call $sizes (i32.const 0) (i32.const 4)) (then unreachable))
    (call $answer_number (i64.extend_i32_u (i32.load (i32.const 0)))) {OK}""",
    imports='(import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))',
)
"""Answers with the number of arguments that WASI shows."""

WASI_FILES = guest(
    f"""(local $descriptor i32) (local $found i64)
    (local.set $descriptor (i32.const 3))
    (loop $next
      (if (i32.eqz (call $prestat (local.get $descriptor) (i32.const 0)))
        (then (local.set $found (i64.add (local.get $found) (i64.const 1)))))
      (local.set $descriptor (i32.add (local.get $descriptor) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $descriptor) (i32.const 64))))
    (call $answer_number (local.get $found)) {OK}""",
    imports='(import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))',
)
"""Answers with the number of folders that WASI opens for it."""

WASI_OPENS = guest(
    f"""(local $descriptor i32) (local $opened i64)
    (i32.store8 (i32.const 0) (i32.const 46)) ;; "."
    (loop $next
      (if (i32.eqz (call $open (local.get $descriptor) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)
          (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 16)))
        (then (local.set $opened (i64.add (local.get $opened) (i64.const 1)))))
      (local.set $descriptor (i32.add (local.get $descriptor) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $descriptor) (i32.const 64))))
    (call $answer_number (local.get $opened)) {OK}""",
    imports="""(import "wasi_snapshot_preview1" "path_open"
      (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))""",
)
"""Tries to open the folder `.` below each of 64 descriptors, and answers with how many it got."""

WASI_CLOCK = guest(
    f"""(if (call $now (i32.const 0) (i64.const 0) (i32.const 0)) (then unreachable))
    (call $answer_number (i64.div_u (i64.load (i32.const 0)) (i64.const 1000000000))) {OK}""",
    imports='(import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))',
)
"""Answers with the time in seconds since 1970."""

WASI_RANDOM = guest(
    f"""(if (call $random (i32.const 0) (i32.const 8)) (then unreachable))
    (call $answer_number (i64.load (i32.const 0))) {OK}""",
    imports='(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))',
)
"""Answers with a random number of 64 bits."""

WASI_SLEEPS = guest(
    f"""(local $until i64)
    (drop (call $now (i32.const 1) (i64.const 0) (i32.const 256)))
    (local.set $until (i64.add (i64.load (i32.const 256)) (i64.mul (call $input_number) (i64.const 1000000))))
    (loop $again
      (i32.store8 (i32.const 8) (i32.const 0)) (i32.store (i32.const 16) (i32.const 1)) ;; the monotonic clock
      (i64.store (i32.const 24) (i64.sub (local.get $until) (i64.load (i32.const 256))))
      (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
      (drop (call $now (i32.const 1) (i64.const 0) (i32.const 256)))
      (br_if $again (i64.lt_u (i64.load (i32.const 256)) (local.get $until))))
    (call $output_set (call $input_offset) (call $input_length)) {OK}""",
    imports="""
    (import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))""",
)
"""Sleeps for as many milliseconds as its input says, as Go does, and answers with its input."""

WASI_STDOUT = guest(
    f"""(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 7))
    (i64.store (i32.const 16) (i64.const 0x0a21656b6f7073)) ;; "spoke!" and a newline
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) {OK}""",
    imports='(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))',
)
"""Writes to its standard output."""

FETCHES = guest(
    f"(call $answer (call $fetch (call $input_offset) (i64.const 0))) {OK}",
    imports='(import "extism:host/env" "http_request" (func $fetch (param i64 i64) (result i64)))',
)
"""Fetches what its input, an Extism HTTP request in JSON, asks for."""

FETCHES_STATUS = guest(
    f"""(drop (call $fetch (call $input_offset) (i64.const 0)))
    (call $answer_number (i64.extend_i32_u (call $status))) {OK}""",
    imports="""(import "extism:host/env" "http_request" (func $fetch (param i64 i64) (result i64)))
    (import "extism:host/env" "http_status_code" (func $status (result i32)))""",
)
"""As FETCHES, and answers with the status."""

FETCHES_HEADERS = guest(
    f"""(drop (call $fetch (call $input_offset) (i64.const 0))) (call $answer (call $headers)) {OK}""",
    imports="""(import "extism:host/env" "http_request" (func $fetch (param i64 i64) (result i64)))
    (import "extism:host/env" "http_headers" (func $headers (result i64)))""",
)
"""As FETCHES, and answers with the headers in JSON."""

_when = '(func (export "run") (result i32) (call $output_set (call $input_offset) (call $input_length)) (i32.const 0))'

LOOPS_WHEN_INITIALIZED = module(f'{_when} (func (export "_initialize") (loop (br 0)))')
"""Never ends in `_initialize`; `run` would answer with its input."""

LOOPS_AT_START = module(f"{_when} (func $start (loop (br 0))) (start $start)")
"""Never ends in its start function."""

LOOPS_IN_CONSTRUCTORS = module(f'{_when} (func (export "__wasm_call_ctors") (loop (br 0)))')
"""Never ends in `__wasm_call_ctors`."""

GETS_AT_START = module(
    """(data (i32.const 0) "hello")
    (global $value (mut i64) (i64.const 0))
    (func $start (global.set $value (call $length (call $get (call $text (i32.const 0) (i32.const 5))))))
    (start $start)
    (func (export "run") (result i32) (call $answer_number (global.get $value)) (i32.const 0))""",
    imports=MEMORY_GET,
)
"""Reads `hello` in its start function; answers with the value's length."""

COUNTS_BEGINNINGS = module(
    """(global $count (mut i64) (i64.const 0))
    (func $begin (global.set $count (i64.add (i64.mul (global.get $count) (i64.const 10)) (i64.const 1))))
    (start $begin)
    (func (export "_initialize")
      (global.set $count (i64.add (i64.mul (global.get $count) (i64.const 10)) (i64.const 2))))
    (func (export "run") (result i32) (call $answer_number (global.get $count)) (i32.const 0))"""
)
"""Answers with 1 for every run of its start function and 2 for every run of `_initialize`, in their order."""

GROWS_TABLE = module(
    """(table $t 1 funcref)
    (func (export "run") (result i32)
      (call $answer_number (i64.extend_i32_u (i32.eq (i32.const -1)
        (table.grow $t (ref.null func) (i32.const 1000000))))) (i32.const 0))"""
)
"""Wants a million more elements of its table; answers with 1 when it does not get them."""

GROWS_STEPWISE = guest(f"(loop $more (br_if $more (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) {OK}")
"""Grows its memory page by page, for as long as it is allowed to."""

GETS_OFTEN = guest(
    f"""(local $left i64)
    (local.set $left (call $input_number))
    (loop $again
      (drop (call $get (i64.const 0)))
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br_if $again (i64.gt_s (local.get $left) (i64.const 0)))) {OK}""",
    imports=MEMORY_GET,
)
"""Calls `hostMemoryGet` as often as its input says, with no key."""

READS_OFTEN = module(
    f"""(data (i32.const 0) "hello")
    (func (export "run") (result i32)
    (local $left i64) (local $key i64)
    (local.set $left (call $input_number))
    (local.set $key (call $text (i32.const 0) (i32.const 5)))
    (loop $again
      (drop (call $get (local.get $key)))
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br_if $again (i64.gt_s (local.get $left) (i64.const 0))))
    (call $output_set (call $input_offset) (call $input_length)) {OK})""",
    imports=MEMORY_GET,
)
"""Reads `hello` as often as its input says, and answers with its input."""

OUTPUT_FREED = guest(
    f"""(local $block i64)
    (local.set $block (call $alloc (i64.const 100)))
    (call $free (local.get $block))
    (call $output_set (local.get $block) (i64.const 100)) {OK}""",
    imports='(import "extism:host/env" "free" (func $free (param i64)))',
)
"""Sets as its output a block that it has freed."""

IMPORTS_ITSELF = '(module (import "main" "run" (func $f)) (func (export "run") (result i32) (i32.const 0)))'
"""Imports from the name under which Extism knows it."""


def forging_at_end(use: str, imports: str) -> str:
    """A guest that makes use of a block, by name `$forged`, which says that it has 2,000 bytes.

    Most of them would lie beyond the end of Extism's memory.
    """
    return module(
        """(func $number (param $at i64) (param $value i64) ;; 32 bits, little-endian
          (local $left i32)
          (local.set $left (i32.const 4))
          (loop $next
            (call $store_u8 (local.get $at) (i32.wrap_i64 (i64.and (local.get $value) (i64.const 255))))
            (local.set $value (i64.shr_u (local.get $value) (i64.const 8)))
            (local.set $at (i64.add (local.get $at) (i64.const 1)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $next (local.get $left))))
        (func (export "run") (result i32)
          (local $block i64) (local $end i64) (local $forged i64)
          (local.set $block (call $alloc (i64.const 5)))
          (loop $next ;; the end of the memory is where nothing can be stored any more
            (local.set $end (i64.add (local.get $end) (i64.const 65536)))
            (call $store_u8 (i64.add (local.get $end) (i64.const 65535)) (i32.const 7))
            (br_if $next (i32.eq (call $load_u8 (i64.add (local.get $end) (i64.const 65535))) (i32.const 7))))
          ;; a header 16 bytes before the end (status, size, used), and the block before it reaching just there
          (call $store_u8 (i64.sub (local.get $end) (i64.const 16))
            (call $load_u8 (i64.sub (local.get $block) (i64.const 12))))
          (call $number (i64.sub (local.get $end) (i64.const 12)) (i64.const 4))
          (call $number (i64.sub (local.get $end) (i64.const 8)) (i64.const 2000))
          (call $number (i64.sub (local.get $block) (i64.const 8))
            (i64.sub (i64.sub (local.get $end) (i64.const 16)) (local.get $block)))
          (local.set $forged (i64.sub (local.get $end) (i64.const 4)))
          """
        + use
        + """ (i32.const 0))""",
        imports=imports,
    )


FORGES_KEY_AT_END = forging_at_end("(drop (call $get (local.get $forged)))", MEMORY_GET)
"""Asks for a key of which most would lie beyond the end of Extism's memory."""

FUNCTIONS = """
(import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
(import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
(import "extism:host/env" "log_error" (func $log (param i64)))
(import "extism:host/env" "http_request" (func $fetch (param i64 i64) (result i64)))
"""


def forging(use: str) -> str:
    """A guest that hands a block over which says, in the kernel's own bookkeeping, that it has 2 GB."""
    return guest(
        f"""(local $block i64)
        (local.set $block (call $alloc (i64.const 5)))
        (call $store_u8 (i64.sub (local.get $block) (i64.const 1)) (i32.const 0x7f))
        {use} {OK}""",
        imports=FUNCTIONS,
    )


FORGES_LINE_AT_END = forging_at_end("(call $log (local.get $forged))", FUNCTIONS)
"""Writes a line to the log of which most would lie beyond the end of Extism's memory."""

CORRUPTS_HEADER = guest(
    f"""(local $block i64)
    (local.set $block (call $alloc (i64.const 5)))
    (call $store_u8 (i64.sub (local.get $block) (i64.const 1)) (i32.const 0x7f))
    (drop (call $get (local.get $block))) {OK}""",
    imports=MEMORY_GET,
)
"""Asks for a key whose block says, in the kernel's own bookkeeping, that it has 2 GB."""

FORGES_OUTPUT = guest(
    f"""(call $output_set (call $alloc (i64.const 5)) (i64.const 5))
    (call $store_u64 (i64.const 57) (i64.const 4000000)) {OK}""",
    imports='(import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))',
)
"""Sets an output and writes another length, 4 MB, over it in the kernel."""

BUSY = guest(
    f"""(local $left i64)
    (local.set $left (i64.mul (call $input_number) (i64.const 1000)))
    (loop $again
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br_if $again (i64.gt_s (local.get $left) (i64.const 0))))
    (call $output_set (call $input_offset) (call $input_length)) {OK}"""
)
"""Counts down from a thousand times the number in its input, then answers with its input."""


def make_plugin(folder: Path, name: str, wat: str, *, binary: bool = False, **fields: Any) -> Path:
    """Writes a plugin folder and returns it.

    Args:
        folder: The folder of plugins.
        name: The plugin's name.
        wat: The guest's text.
        binary: Whether the module is written as .wasm, with its hash in plugin.toml.
        **fields: Fields of plugin.toml, tables as dicts; by default it exposes `run`.
    """
    place = folder / name
    place.mkdir(parents=True)
    values: dict[str, Any] = {"wasm": f"{name}.wat", "functions": ["run"]}
    if binary:
        code = bytes(wasmtime.wat2wasm(wat))
        (place / f"{name}.wasm").write_bytes(code)
        values |= {"wasm": f"{name}.wasm", "sha256": hashlib.sha256(code).hexdigest()}
    else:
        (place / f"{name}.wat").write_text(wat, encoding="utf-8")
    (place / "plugin.toml").write_text(toml(values | fields), encoding="utf-8")
    return place


def toml(values: dict[str, Any]) -> str:
    """Fields as TOML; a dict is a table. Strings and lists have JSON's form, which TOML takes too."""
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in plain.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
