"""Every kind of object that Swift can hold, made as its users make it.

`KINDS` is the table: what it is called, how it is made under a name, and
whether a storage server's file holds its very bytes, so that a job can read
it in place.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from functests.support import Account
from functests.test_job_inputs import pattern

# Not a multiple of anything, and too long to be hashed on the spot.
SIZE = 300_017
# The least that S3 takes as a part that is not the last.
PART = 5 * 1024 * 1024


@dataclass
class Makers:
    """Makes objects for one test, which throws its cluster away."""

    account: Account
    other: Account

    def box(self, account: Account | None = None, **headers: str) -> str:
        """Another container."""
        owner = account or self.account
        return owner.create(f"c-{uuid.uuid4().hex[:12]}", **headers)

    def put(self, name: str, data: bytes = b"", **headers: str) -> str:
        """An object in the test's container; its ETag."""
        return self.account.put(name, data, **headers)

    def parts(self) -> list[dict[str, Any]]:
        """Three segments of unequal length, as an SLO manifest."""
        data, found = pattern(SIZE), []
        for number, (at, end) in enumerate(
            [(0, 100_000), (100_000, 100_001), (100_001, SIZE)]
        ):
            name = f"parts/{number}"
            etag = self.put(name, data[at:end])
            path = f"/{self.account.container}/{name}"
            found.append({"path": path, "etag": etag})
        return found

    def manifest(self, name: str, entries: list[dict[str, Any]]) -> None:
        """A static large object."""
        answer = self.account.request(
            "PUT",
            f"{self.account.container}/{name}?multipart-manifest=put",
            data=json.dumps(entries),
        )
        assert answer.status_code == 201, answer.text

    def s3(self) -> Any:
        """An S3 client of the account's owner."""
        return boto3.client(
            "s3",
            endpoint_url=self.account.cluster.env["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.account.user,
            aws_secret_access_key=self.account.key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )


def plain(make: Makers, name: str) -> None:
    make.put(name, pattern(SIZE))


def small(make: Makers, name: str) -> None:
    make.put(name, b"hello")


def empty(make: Makers, name: str) -> None:
    make.put(name, b"")


def with_metadata(make: Makers, name: str) -> None:
    """PUT, then POSTed to twice: its file has two others beside it."""
    make.put(name, pattern(SIZE), X_Object_Meta_Color="red")
    for color in ("green", "blue"):
        make.account.request(
            "POST",
            f"{make.account.container}/{name}",
            {"X-Object-Meta-Color": color, "Content-Type": "text/csv"},
        ).raise_for_status()


def overwritten(make: Makers, name: str) -> None:
    make.put(name, b"the version before")
    make.put(name, pattern(SIZE))


def copied(make: Makers, name: str) -> None:
    make.put("original", pattern(SIZE))
    make.put(name, X_Copy_From=f"{make.account.container}/original")


def expiring(make: Makers, name: str) -> None:
    make.put(name, pattern(SIZE), X_Delete_At=str(int(time.time()) + 3600))


def static_large(make: Makers, name: str) -> None:
    make.manifest(name, make.parts())


def static_large_nested(make: Makers, name: str) -> None:
    make.manifest("parts/whole", make.parts())
    entry = {"path": f"/{make.account.container}/parts/whole"}
    make.manifest(name, [entry, entry])


def static_large_of_ranges(make: Makers, name: str) -> None:
    """Parts of segments, some of them twice, and bytes in the manifest."""
    first, second, last = make.parts()
    make.manifest(
        name,
        [
            {**first, "range": "5-70000"},
            second,
            {"data": "aW4gdGhlIG1hbmlmZXN0"},
            {**last, "range": "-99999"},
            {**first, "range": "5-70000"},
        ],
    )


def dynamic_large(make: Makers, name: str) -> None:
    make.parts()
    make.put(name, X_Object_Manifest=f"{make.account.container}/parts/")


def s3_object(make: Makers, name: str) -> None:
    make.s3().put_object(
        Bucket=make.account.container, Key=name, Body=pattern(SIZE)
    )


def s3_multipart(make: Makers, name: str) -> None:
    client, bucket = make.s3(), make.account.container
    upload = client.create_multipart_upload(Bucket=bucket, Key=name)
    where = {"Bucket": bucket, "Key": name, "UploadId": upload["UploadId"]}
    parts = []
    for number, data in enumerate((pattern(PART), pattern(SIZE)), 1):
        sent = client.upload_part(**where, PartNumber=number, Body=data)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})


def symlink(make: Makers, name: str) -> None:
    make.put("target", pattern(SIZE))
    make.put(name, X_Symlink_Target=f"{make.account.container}/target")


def static_symlink(make: Makers, name: str) -> None:
    etag = make.put("target", pattern(SIZE))
    make.put(
        name,
        X_Symlink_Target=f"{make.account.container}/target",
        X_Symlink_Target_Etag=etag,
    )


def chain_of_symlinks(make: Makers, name: str) -> None:
    symlink(make, "link")
    make.put(name, X_Symlink_Target=f"{make.account.container}/link")


def symlink_to_large(make: Makers, name: str) -> None:
    make.manifest("target", make.parts())
    make.put(name, X_Symlink_Target=f"{make.account.container}/target")


def symlink_to_account(make: Makers, name: str) -> None:
    """To another account's object, which it lets everybody read."""
    box = make.box(make.other, X_Container_Read=make.account.user)
    make.other.put("target", pattern(SIZE), box)
    make.put(
        name,
        X_Symlink_Target=f"{box}/target",
        X_Symlink_Target_Account=make.other.name,
    )


def versioned(make: Makers, name: str) -> None:
    """By Swift's object versioning."""
    make.account.request(
        "POST", make.account.container, {"X-Versions-Enabled": "true"}
    ).raise_for_status()
    make.put(name, b"the version before")
    make.put(name, pattern(SIZE))


def versioned_by_location(make: Makers, name: str) -> None:
    """By the older way, with a container for what was before."""
    history = make.box()
    make.account.request(
        "POST", make.account.container, {"X-Versions-Location": history}
    ).raise_for_status()
    make.put(name, b"the version before")
    make.put(name, pattern(SIZE))
    make.account.request(
        "POST", make.account.container, {"X-Remove-Versions-Location": "x"}
    ).raise_for_status()


@dataclass(frozen=True)
class Kind:
    """One kind of object; `policy` is that of the container it lies in."""

    make: Callable[[Makers, str], None]
    in_place: bool
    policy: str = ""
    bytes: int = SIZE


KINDS = {
    "replicated": Kind(plain, in_place=True),
    "small": Kind(small, in_place=True, bytes=5),
    "zero bytes": Kind(empty, in_place=True, bytes=0),
    "with metadata POSTed": Kind(with_metadata, in_place=True),
    "overwritten": Kind(overwritten, in_place=True),
    "copied": Kind(copied, in_place=True),
    "expiring in an hour": Kind(expiring, in_place=True),
    "in another policy": Kind(plain, in_place=True, policy="single"),
    "erasure coded": Kind(plain, in_place=False, policy="erasure"),
    "erasure coded, zero bytes": Kind(
        empty, in_place=False, policy="erasure", bytes=0
    ),
    "SLO": Kind(static_large, in_place=False),
    "SLO, erasure coded": Kind(static_large, in_place=False, policy="erasure"),
    "SLO of SLOs": Kind(static_large_nested, in_place=False, bytes=2 * SIZE),
    "SLO of ranges and data": Kind(
        static_large_of_ranges,
        in_place=False,
        bytes=2 * 69_996 + 1 + 15 + 99_999,
    ),
    "DLO": Kind(dynamic_large, in_place=False),
    "S3 object": Kind(s3_object, in_place=True),
    "S3 multipart": Kind(s3_multipart, in_place=False, bytes=PART + SIZE),
    "symlink": Kind(symlink, in_place=False),
    "static symlink": Kind(static_symlink, in_place=False),
    "chain of symlinks": Kind(chain_of_symlinks, in_place=False),
    "symlink to an SLO": Kind(symlink_to_large, in_place=False),
    "symlink to another account": Kind(symlink_to_account, in_place=False),
    "versioned": Kind(versioned, in_place=False),
    "versioned by location": Kind(versioned_by_location, in_place=True),
}
