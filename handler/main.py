"""The function's entry point: Lambda imports this module once per environment and calls `handler` for every event."""

import os

from handler.composition import create_handler

handler = create_handler(os.environ)
