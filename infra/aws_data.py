"""Cuts botocore's data down to the services that the function talks to.

It matters: of the 60 to 80 ms that the first DynamoDB client takes (botocore 1.44, Python 3.13, 2 cores), parsing
endpoints.json takes 21 to 30 ms, and 1.4 ms with these services alone; a plain service model without its documentation
saves 3 ms more; the artifact gets 26 MB smaller. It is safe: partitions, regions, retries, defaults and the endpoint
rules of the services that are kept stay as they are. A client of any other service raises botocore's
UnknownServiceError, which lists those that are there.
"""

import gzip
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from infra.building import BuildError

SERVICES = ("dynamodb", "signin", "sso", "sso-oidc", "sts")
"""DynamoDB, and the services that botocore's own credential providers call."""


def prune(site: Path, services: Collection[str] = SERVICES) -> None:
    """Removes the data of all other services, and the documentation from the models of these.

    Args:
        site: the folder that holds the packages boto3 and botocore.
        services: names as in `boto3.client(NAME)`.

    Raises:
        BuildError: botocore knows no service of such a name.
    """
    data = site / "botocore" / "data"
    known = {folder.name for folder in data.iterdir() if folder.is_dir()}
    if unknown := sorted(set(services) - known):
        raise BuildError(f"botocore has no data for the service {unknown[0]!r}")
    for name in known - set(services):
        shutil.rmtree(data / name)
    resources = site / "boto3" / "data"
    for folder in list(resources.iterdir()) if resources.is_dir() else []:
        if folder.is_dir() and folder.name not in services:
            shutil.rmtree(folder)

    prefixes = set()
    for path in sorted(data.glob("*/*/*")):
        if path.name.startswith("examples-"):
            path.unlink()
            continue
        content = _unpack(path)
        if path.name.startswith("service-"):
            prefixes.add(content["metadata"]["endpointPrefix"])
    _keep_endpoints(data / "endpoints.json", prefixes)


def _unpack(path: Path) -> Any:
    """Replaces a file by its plain JSON without documentation (botocore reads both forms), and returns its content."""
    packed = path.suffix == ".gz"
    content = without_documentation(json.loads(gzip.decompress(path.read_bytes()) if packed else path.read_bytes()))
    path.unlink()
    _write(path.with_suffix("") if packed else path, content)
    return content


def without_documentation(content: Any) -> Any:
    """Returns the content without its documentation texts; a member of that name is no text but a shape, and stays."""
    if isinstance(content, dict):
        return {
            name: without_documentation(value)
            for name, value in content.items()
            if not (name == "documentation" and isinstance(value, str))
        }
    if isinstance(content, list):
        return [without_documentation(value) for value in content]
    return content


def _keep_endpoints(path: Path, prefixes: Collection[str]) -> None:
    """Leaves only these services in every partition of endpoints.json; its regions and defaults stay."""
    endpoints = json.loads(path.read_bytes())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: value for name, value in partition["services"].items() if name in prefixes}
    _write(path, endpoints)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")
