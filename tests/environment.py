"""The environment of all tests: no compile cache, nobody's AWS account, region or endpoint, no metadata service."""

import os

for name in list(os.environ):
    if name.startswith(("AWS_", "EXTISM_")) and not name.startswith("EXTISM_LAMBDA_TEST_"):
        del os.environ[name]
os.environ |= {
    "EXTISM_CACHE_CONFIG": "",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
