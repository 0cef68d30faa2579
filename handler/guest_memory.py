"""Reading what a guest points at, in Extism's memory.

Offsets and lengths are the guest's word: it can write to the bookkeeping of Extism's kernel, which lies in the memory
that both share. Beyond the memory's end are pages that are not there, and following a pointer to one ends the process.
"""

import os
from typing import Any

from extism.extism import CurrentPlugin, Memory

from handler.errors import PluginOutOfMemory

UNSIGNED = 0xFFFF_FFFF_FFFF_FFFF
PAGE = 65_536
BLOCK_HEADER = 16
"""At least the bytes that Extism's kernel keeps before an allocation (12 in extism 1.41: status, size, used)."""

_reading, _writing = os.pipe()


class OutsideMemory(ValueError):
    """A block that reaches beyond the end of the memory."""


def block_at(plugin: CurrentPlugin, offset: int) -> Memory:
    """The block at an offset as a host function gets it; its length is 0 where there is none."""
    # Extism hands the guest's unsigned offset over as a signed number.
    return plugin.memory_at_offset(offset & UNSIGNED)


def read_block(plugin: CurrentPlugin, block: Memory) -> bytes:
    """The bytes of a block, whose length has been found acceptable.

    Extism's kernel has read the block's header, which ends where the block begins, so that the page of 64 KiB with the
    header's last byte is there. A block that reaches into another one is looked at more closely.

    Raises:
        OutsideMemory: It is not all inside the memory.
    """
    last = block.offset + block.length - 1
    if (block.offset - 1) // PAGE != last // PAGE and not is_there(plugin.memory(Memory(last, 1))):
        raise OutsideMemory(f"{block.length} bytes at {block.offset}")
    return bytes(plugin.memory(block))


def is_there(buffer: Any) -> bool:
    """Whether the last byte of a buffer can be read: a system call answers EFAULT where a pointer would be fatal.

    Memory begins at its first byte and has no holes, so the bytes before are there too. Takes about 1 µs.
    """
    try:
        os.write(_writing, memoryview(buffer)[-1:])
    except OSError:
        return False
    os.read(_reading, 1)
    return True


def give(plugin: CurrentPlugin, value: bytes) -> int:
    """Copies a value into Extism's memory and returns its offset, which is never 0."""
    # An allocation of 0 bytes has the offset 0, which would say that there is no such key. An offset that lies inside a
    # block of zeros, and so is no block itself, is what the kernel gives the length 0: `length` finds no block there,
    # and `length_unsafe` reads the zeros before it as a header that is not in use.
    block = plugin.alloc(len(value) or 2 * BLOCK_HEADER)
    if block.offset == 0:
        raise PluginOutOfMemory("a value of the memory does not fit into the plugin's memory_pages")
    plugin.memory(block)[:] = value or bytes(2 * BLOCK_HEADER)
    return int(block.offset) if value else int(block.offset) + BLOCK_HEADER
