"""S3's protocol on loopback."""

import contextlib
import os
from collections.abc import Iterator
from unittest import mock

import boto3
import moto.backends
from moto.server import ThreadedMotoServer

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def serve_s3(bucket: str) -> Iterator[str]:
    """Yield the endpoint of a store with one empty bucket; credentials are in the environment meanwhile."""
    with mock.patch.dict(os.environ, CREDENTIALS):
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            endpoint = "http://{}:{}".format(*server.get_host_and_port())
            boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
            yield endpoint
        finally:
            server.stop()
            moto.backends.get_backend("s3").reset()  # the servers of one process share their buckets
