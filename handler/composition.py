"""Puts the parts together; every part gets what it needs handed in."""

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from handler.errors import ConfigurationError
from handler.memory.map import MapStore
from handler.memory.store import MemoryStore
from handler.plugins import load_catalog
from handler.pool import PluginPool
from handler.service import PluginService
from handler.settings import MemoryKind, Settings
from handler.snapstart import SnapStartHooks
from handler.telemetry import ReadableTelemetry, Telemetry

if TYPE_CHECKING:
    from mangum.types import ASGI

    from handler.api import Run
    from handler.events import EventHandler


def create_service(settings: Settings) -> PluginService:
    """The plugins over their memory, the default one already being compiled.

    Raises:
        ConfigurationError: A plugin.toml is wrong, or the default plugin is not there.
    """
    logging.getLogger("handler").setLevel(settings.log_level)
    for chatty in ("botocore", "mangum"):  # where they found credentials; a line per request, as the service does
        logging.getLogger(chatty).setLevel(logging.WARNING)
    catalog = load_catalog(settings.plugins)
    if settings.default_plugin not in catalog:
        raise ConfigurationError(
            f"EXTISM_LAMBDA_DEFAULT_PLUGIN={settings.default_plugin!r} is not allowed: "
            f"expected one of {', '.join(catalog)}"
        )
    pools = {name: PluginPool(spec, settings.concurrency) for name, spec in catalog.items()}
    pools[settings.default_plugin].prepare()  # in a thread beside the imports to come, which are most of a cold start
    return PluginService(pools, settings.default_plugin, _create_store(settings), _create_telemetry(settings))


def _create_telemetry(settings: Settings) -> Telemetry:
    if not settings.json_lines:
        return ReadableTelemetry()
    from handler.json_lines import JsonTelemetry

    return JsonTelemetry(settings.metrics, settings.function_name, logging.getLevelNamesMapping()[settings.log_level])


def _create_store(settings: Settings) -> MemoryStore:
    if settings.memory is MemoryKind.MAP:
        return MapStore()
    from handler.memory import dynamodb  # boto3 takes a while, and the guest is compiling by now

    return dynamodb.DynamoDBStore(
        dynamodb.create_client(settings.region), settings.table, consistent=settings.consistent_reads
    )


def create_app(settings: Settings, service: PluginService, run: "Run | None" = None) -> "ASGI":
    """The ASGI application; `run` says how blocking work is run, by default in place."""
    # Pydantic would look for plugins in every installed package's metadata; there are none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with _models_built_when_used():
        from handler import api
    from handler.base_path import BasePath

    return BasePath(
        api.create_app(service, run or api.in_place, server_timing=settings.server_timing), settings.base_path
    )


@contextmanager
def _models_built_when_used() -> Iterator[None]:
    """Lets pydantic put off the schemas of the models that are defined meanwhile.

    FastAPI defines the forty models of OpenAPI's document when it is imported, which is a fifth of its import, and uses
    them when the document is asked for.
    """
    from pydantic import BaseModel

    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]


def create_handler(environ: Mapping[str, str]) -> "EventHandler":
    """The Lambda handler.

    Raises:
        ConfigurationError: A setting or a plugin.toml is wrong.
    """
    settings = Settings.from_environ(environ)
    service = create_service(settings)
    SnapStartHooks(service).register(environ)
    from mangum import Mangum
    from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

    from handler.events import EventHandler

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # Mangum runs requests on the loop of its thread
    mangum = Mangum(
        create_app(settings, service),
        lifespan="off",  # Mangum would run start-up and shutdown at every invocation
        text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, "application/problem+json"],
    )
    return EventHandler(service, mangum, loop)
