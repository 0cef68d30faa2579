"""What a key may be."""

from handler.errors import InvalidMemoryKey

KEY_BYTES = 2048
"""Most bytes of a DynamoDB partition key of type S (DynamoDB Developer Guide, "Constraints"). moto accepts more."""


def decode_key(raw: bytes) -> str:
    """Reads a key as a guest gave it.

    Raises:
        InvalidMemoryKey: It is not 1 to 2048 bytes of UTF-8.
    """
    if not 1 <= len(raw) <= KEY_BYTES:
        raise InvalidMemoryKey(f"the key has {len(raw)} bytes; 1 to {KEY_BYTES} are allowed")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidMemoryKey(f"the key is not UTF-8: {error.reason} at byte {error.start}") from error
