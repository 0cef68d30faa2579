"""What goes wrong with DynamoDB, in our own errors.

The error's detail is public, and tells which kind of thing is missing or broken. Its cause is for the log, and tells in
words what to do; DynamoDB's own words are the cause of that.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions

from handler.errors import InvocationError, StoreFailed, StoreThrottled, StoreUnreachable

THROTTLES = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)

UNREACHABLE = (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError)
"""What botocore raises where there is no answer; neither class is the other's base."""

NO_CREDENTIALS = (
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.MetadataRetrievalError,
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.TokenRetrievalError,
)

CREDENTIALS_MISSING = "there are no credentials to read the memory with"
GIVE_CREDENTIALS = "give the function a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_CREDENTIALS_REFUSED = ("DynamoDB does not accept the credentials", "check the credentials: " + GIVE_CREDENTIALS)
_CREDENTIALS_EXPIRED = ("the credentials for the memory have expired", "renew the credentials of the environment")

REFUSALS = {
    "ResourceNotFoundException": (
        "the memory's table does not exist",
        "create the table, or set EXTISM_LAMBDA_TABLE and AWS_REGION to where there is one",
    ),
    "AccessDeniedException": (
        "the credentials do not allow to read the memory's table",
        "allow dynamodb:GetItem and dynamodb:BatchGetItem on the table to the function's role",
    ),
    "ExpiredToken": _CREDENTIALS_EXPIRED,
    "ExpiredTokenException": _CREDENTIALS_EXPIRED,
    "IncompleteSignatureException": _CREDENTIALS_REFUSED,
    "InvalidClientTokenId": _CREDENTIALS_REFUSED,
    "InvalidSignatureException": _CREDENTIALS_REFUSED,
    "MissingAuthenticationTokenException": _CREDENTIALS_REFUSED,
    "UnrecognizedClientException": _CREDENTIALS_REFUSED,
}
"""Codes with which DynamoDB tells that something is not set up: what is, and what to do.

Source: DynamoDB Developer Guide, "Error handling with DynamoDB", and AWS's common errors.
"""


class NotSetUp(RuntimeError):
    """Something that DynamoDB needs is missing or wrong; for the log, since the message names the table."""


@contextmanager
def mapped(table: str, region: str) -> Iterator[None]:
    """Turns what botocore raises into our errors.

    Args:
        table: The table that is read, for the log.
        region: Its region, for the log.

    Raises:
        StoreFailed: DynamoDB refused or broke, or its answer cannot be read.
        StoreThrottled: DynamoDB throttles.
        StoreUnreachable: There was no answer.
    """
    try:
        yield
    except InvocationError:
        raise
    except botocore.exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in THROTTLES:
            raise StoreThrottled("DynamoDB throttles the reads") from error
        if code in REFUSALS:
            detail, advice = REFUSALS[code]
            raise StoreFailed(detail) from _not_set_up(f"table {table!r} in {region}: {advice}", error)
        raise StoreFailed("DynamoDB refused the read or failed") from error
    except UNREACHABLE as error:
        raise StoreUnreachable("no answer from DynamoDB") from error
    except NO_CREDENTIALS as error:
        raise StoreFailed(CREDENTIALS_MISSING) from _not_set_up(GIVE_CREDENTIALS, error)
    except botocore.exceptions.BotoCoreError as error:
        raise StoreFailed("DynamoDB could not be asked") from error
    except Exception as error:  # botocore's parsers raise whatever a strange answer makes them raise
        raise StoreFailed("DynamoDB's answer cannot be read") from error


def _not_set_up(advice: str, cause: Exception) -> NotSetUp:
    missing = NotSetUp(advice)
    missing.__cause__ = cause
    return missing
