"""SnapStart: Lambda starts one environment, takes a snapshot of it, and makes every other one from that.

Whatever lives at the snapshot lives in all of them, a guest's random seed too. So modules are compiled before it, while
instances, connections and random states are made after the restore (AWS Lambda Developer Guide, "Handling uniqueness
with SnapStart").
"""

import logging
import os
import random
from collections.abc import Mapping

from handler.deadline import Deadline
from handler.errors import InvocationError
from handler.service import PluginService

logger = logging.getLogger(__name__)

RESTORE_SECONDS = 8.0
"""Of the 10 s that Lambda gives all hooks after a restore."""


class SnapStartHooks:
    """What has to happen around the snapshot.

    Args:
        service: The service; it has not served anything yet.
    """

    def __init__(self, service: PluginService) -> None:
        self._service = service

    def before_snapshot(self) -> None:
        """Compiles all plugins, and frees what must not be shared."""
        self._service.compile_all(Deadline.never())
        self._service.release()

    def after_restore(self) -> None:
        """Makes what is to be this environment's own; a plugin that does not load is told by its first request."""
        random.seed()
        try:
            self._service.warm(Deadline.after(RESTORE_SECONDS))
        except InvocationError as error:
            logger.error("not warm after the restore: %s", error.detail)  # noqa: TRY400 - requests tell the rest

    def register(self, environ: Mapping[str, str] = os.environ) -> None:
        """Registers the hooks with the Lambda runtime, where it uses SnapStart."""
        if environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
            return
        import snapshot_restore_py  # noqa: PLC0415 - the runtime brings it

        snapshot_restore_py.register_before_snapshot(self.before_snapshot)
        snapshot_restore_py.register_after_restore(self.after_restore)
