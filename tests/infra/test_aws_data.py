"""Tests of infra.aws_data."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader

from infra.artifact import BuildReport, build
from infra.aws_data import SERVICES, without_documentation
from infra.building import BuildError, Target, environment

# One region of each partition, and one that this botocore does not know
REGIONS = ("us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "eusc-de-east-1", "xx-nowhere-9")
ENDPOINTS = """
import json, sys
if sys.argv[1]: sys.path.insert(0, sys.argv[1])
import boto3, botocore
from botocore.config import Config
found = {}
session = boto3.session.Session("key", "secret")
for service in json.loads(sys.argv[2]):
    for region in json.loads(sys.argv[3]):
        for fips, dual in ((False, False), (True, False), (False, True)):
            config = Config(use_fips_endpoint=fips, use_dualstack_endpoint=dual)
            try:
                client = session.client(service, region, config=config)
                found[f"{service} {region} {fips} {dual}"] = (
                    client.meta.endpoint_url, client.meta.region_name, client.meta.partition,
                    sorted(client.meta.method_to_api_mapping), client._request_signer.signature_version,
                    client._request_signer.region_name, client._request_signer.signing_name,
                )
            except Exception as error:
                found[f"{service} {region} {fips} {dual}"] = repr(error)
print(json.dumps({"version": botocore.__version__, "found": found}))
"""


def endpoints(interpreter: Path | str, *options: str, site: str) -> dict[str, Any]:
    """What botocore makes of every service, region and variant, from a folder of packages or the installed ones."""
    command = [str(interpreter), *options, "-B", "-c", ENDPOINTS, site, json.dumps(SERVICES), json.dumps(REGIONS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_clients_are_as_with_all_data(artifact: BuildReport) -> None:
    """Endpoint, signing, partition and operations of every kept service are those that botocore has with all data."""
    pruned = endpoints(artifact.target.interpreter, "-I", "-S", site=str(artifact.out))
    assert pruned["version"] == version("botocore")
    assert pruned == endpoints(sys.executable, site="")


def test_dynamodb_is_described_as_before(artifact: BuildReport) -> None:
    """The service model that is shipped is botocore's own without documentation, paginators and waiters included."""
    whole = Loader()
    shipped = Loader([str(artifact.out / "botocore" / "data")], include_default_search_paths=False)
    for kind in ("service-2", "endpoint-rule-set-1", "paginators-1", "waiters-2"):
        assert shipped.load_service_model("dynamodb", kind) == without_documentation(
            whole.load_service_model("dynamodb", kind)
        )


def test_text_named_documentation_goes_and_a_shape_of_that_name_stays() -> None:
    """Documentation is text; a member that happens to be called so is none."""
    model = {"members": {"documentation": {"shape": "Text"}, "a": {"shape": "A", "documentation": "<p>A</p>"}}}
    assert without_documentation([model]) == [{"members": {"documentation": {"shape": "Text"}, "a": {"shape": "A"}}}]


def test_other_services_are_not_there(artifact: BuildReport) -> None:
    """Only the named services' data is shipped."""
    data = artifact.out / "botocore" / "data"
    assert {path.name for path in data.iterdir() if path.is_dir()} == set(SERVICES)
    assert {path.name for path in (artifact.out / "boto3" / "data").iterdir() if path.is_dir()} == {"dynamodb"}


def test_unknown_service_is_refused(target: Target, tmp_path: Path) -> None:
    """A service that botocore does not know is refused by name."""
    with pytest.raises(BuildError, match="botocore has no data for the service 'dynamo'"):
        build(tmp_path / "out", target.python, target.arch, aws_services=["dynamo"])


def test_more_services_can_be_kept(target: Target, tmp_path: Path) -> None:
    """A handler that talks to another service has its data built in."""
    report = build(tmp_path / "out", target.python, target.arch, aws_services=[*SERVICES, "sqs"])
    assert (report.out / "botocore" / "data" / "sqs").is_dir()
    partitions = json.loads((report.out / "botocore" / "data" / "endpoints.json").read_text())["partitions"]
    assert "sqs" in partitions[0]["services"]
