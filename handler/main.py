"""The function's entry point: Lambda imports this module once per environment and calls `handler` for every event."""

import gc
import os

gc.disable()  # imports make no garbage: looking for it takes 5 % of a cold start

from handler.composition import create_handler  # noqa: E402

handler = create_handler(os.environ)

gc.freeze()  # what is there now stays, and need never be looked at again
gc.enable()
