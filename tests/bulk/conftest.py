"""Photos in folders, Parquet and tar files, and an S3 server."""

import io
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import FileSystem

from flower_model.bulk.reading import read_unit
from flower_model.bulk.units import Unit
from flower_model.errors import ImageError


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server on loopback."""
    server = _start_server()
    yield _url(server)
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch) -> str:
    """The URI of an empty bucket, which pyarrow finds through the environment."""
    return _create_bucket(s3_server, monkeypatch)


@pytest.fixture
def s3_to_stop(monkeypatch) -> Iterator[tuple[str, Any]]:
    """The URI of an empty bucket, and its server, which the test may stop."""
    server = _start_server()
    yield _create_bucket(_url(server), monkeypatch), server
    server.stop()


def write_parquet(
    path: Path, columns: dict[str, object], rows_per_group: int = 100, **options: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group, **options)
    return path


def write_tar(path: Path, members: dict[str, bytes], form: int = tarfile.DEFAULT_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def read(unit: Unit, folder: str | Path = "/") -> list[tuple[str, str | bytes]]:
    """Return the names and sources of a unit's photos, errors as text."""
    return [
        (name, str(source) if isinstance(source, ImageError) else source)
        for name, source in read_unit(unit, str(folder))
    ]


def _start_server() -> Any:
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    return running


def _url(server: Any) -> str:
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def _create_bucket(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    settings = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    bucket = f"photos-{uuid.uuid4().hex[:8]}"
    filesystem, path = FileSystem.from_uri(f"s3://{bucket}?allow_bucket_creation=true")
    filesystem.create_dir(path)
    return f"s3://{bucket}"
