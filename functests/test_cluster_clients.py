"""swift, curl and boto3 work against an embedded cluster, as a user types.

All find it by DIR/env alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from functests.support import Account
from zerocloud.cluster import Cluster

SWIFT = Path(sys.executable).with_name("swift")


def in_shell(cluster: Cluster, script: str) -> str:
    """Run a script after sourcing DIR/env, in an otherwise clean shell."""
    done = subprocess.run(
        ["sh", "-euc", f'. "$1"; {script}', "sh", str(cluster.folder.env)],
        env={"PATH": f"{SWIFT.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_swift_client_uploads_lists_downloads_and_deletes(
    cluster: Cluster, account: Account, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_bytes(b"over the wire")
    box = account.container
    told = in_shell(
        cluster,
        f'cd "{tmp_path}"; swift upload {box} "a file"; swift list {box}; '
        f'swift download {box} "a file" -o -; swift delete {box} "a file"; '
        f"swift list {box}",
    )
    assert told == "a file\na file\nover the wirea file\n"


def test_swift_client_segments_a_large_upload_and_joins_it(
    cluster: Cluster, account: Account, tmp_path: Path
) -> None:
    data = os.urandom(300_000)
    (tmp_path / "big").write_bytes(data)
    in_shell(
        cluster,
        f'cd "{tmp_path}"; swift upload -S 100000 --use-slo '
        f"{account.container} big",
    )
    assert account.head("big").headers["X-Static-Large-Object"] == "True"
    assert account.get("big") == data


@pytest.mark.skipif(
    shutil.which("curl") is None, reason="curl is not on this machine"
)
def test_curl_with_a_token_stores_and_reads_an_object(
    cluster: Cluster, account: Account
) -> None:
    told = in_shell(
        cluster,
        'token=$(curl -sfi -H "X-Auth-User: $ST_USER" -H "X-Auth-Key: '
        "$ST_KEY\" $ST_AUTH | tr -d '\\r' | sed -n 's/^X-Auth-Token: //p'); "
        f"url=$STORAGE_URL/{account.container}/o; "
        'curl -sf -H "X-Auth-Token: $token" -T - $url <<END\nhello\nEND\n'
        'curl -sf -H "X-Auth-Token: $token" $url',
    )
    assert told.endswith("hello\n")


@pytest.fixture
def s3(cluster: Cluster) -> Any:
    """boto3, as configured by DIR/env."""
    return boto3.client(
        "s3",
        endpoint_url=cluster.env["AWS_ENDPOINT_URL"],
        aws_access_key_id=cluster.env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=cluster.env["AWS_SECRET_ACCESS_KEY"],
        region_name=cluster.env["AWS_DEFAULT_REGION"],
        config=Config(s3={"addressing_style": "path"}),
    )


def test_boto3_puts_gets_lists_and_deletes(s3: Any, account: Account) -> None:
    box = account.container
    s3.put_object(Bucket=box, Key="k", Body=b"by S3")
    assert s3.get_object(Bucket=box, Key="k")["Body"].read() == b"by S3"
    assert account.get("k") == b"by S3"
    keys = [e["Key"] for e in s3.list_objects_v2(Bucket=box)["Contents"]]
    assert keys == ["k"]
    s3.delete_object(Bucket=box, Key="k")
    assert account.listing() == []


def test_boto3_multipart_upload_is_joined(s3: Any, account: Account) -> None:
    box, parts = account.container, [b"a" * 5_242_880, b"tail"]
    upload = s3.create_multipart_upload(Bucket=box, Key="m")["UploadId"]
    done = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(
                Bucket=box,
                Key="m",
                UploadId=upload,
                PartNumber=number,
                Body=part,
            )["ETag"],
        }
        for number, part in enumerate(parts, 1)
    ]
    s3.complete_multipart_upload(
        Bucket=box, Key="m", UploadId=upload, MultipartUpload={"Parts": done}
    )
    assert account.get("m") == b"".join(parts)


def test_boto3_with_a_wrong_secret_is_refused(cluster: Cluster) -> None:
    wrong = boto3.client(
        "s3",
        endpoint_url=cluster.url,
        aws_access_key_id="test:tester",
        aws_secret_access_key="wrong",
        region_name="us-east-1",
    )
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        wrong.list_buckets()
