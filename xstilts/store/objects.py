"""Objects of a bucket below a prefix: reading, writing, listing and deleting them by key."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xstilts.errors import CorruptError
from xstilts.new_files import new_file
from xstilts.step import canonical_json
from xstilts.store import documents, listing, transfers
from xstilts.store.client import explained, is_absent, status_of
from xstilts.store.object_keys import is_hashed
from xstilts.store.threads import in_threads
from xstilts.stored_documents import kind_of


class Objects:
    """A bucket and prefix. Keys are relative to the prefix. Safe to use from several threads."""

    def __init__(self, client: Any, bucket: str, prefix: str, cache: Path) -> None:
        self.client, self.bucket, self.prefix, self.cache = client, bucket, prefix.strip("/"), cache

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _where(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._key(key)}"

    def size(self, key: str) -> int | None:
        """The size of an object in bytes, or None if it does not exist."""
        from botocore.exceptions import ClientError

        with explained(self._where(key)):
            try:
                return int(
                    self.client.head_object(Bucket=self.bucket, Key=self._key(key))["ContentLength"]
                )
            except ClientError as error:
                if status_of(error) == 404:
                    return None
                raise

    def put_bytes_at(self, key: str, data: bytes) -> None:
        with explained(self._where(key)):
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    def get_bytes_at(self, key: str) -> bytes | None:
        """The bytes of an object, None if it does not exist. A transfer that ends early is
        repeated.
        """
        from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError

        with explained(self._where(key)):
            for attempt in range(transfers.READS):
                try:
                    answer = self.client.get_object(Bucket=self.bucket, Key=self._key(key))
                    body: bytes = answer["Body"].read()
                    return body
                except ClientError as error:
                    if is_absent(error):
                        return None
                    raise
                except (IncompleteReadError, ResponseStreamingError):
                    if attempt == transfers.READS - 1:
                        raise
        raise AssertionError("unreachable")

    def put_json(self, key: str, value: Any) -> None:
        """One PUT of canonical JSON."""
        self.put_bytes_at(key, canonical_json(value).encode())

    def get_json(self, key: str) -> dict[str, Any] | None:
        """A JSON document, or None if there is none. StoreError if it is corrupt
        (store/documents.py) in two downloads.
        """
        data = self.get_bytes_at(key)
        if data is None:
            return None
        try:
            return documents.parse(key, data, self._where(key))
        except CorruptError:
            data = self.get_bytes_at(key)
        return None if data is None else documents.parse(key, data, self._where(key))

    def corrupt(self, key: str, problem: str) -> CorruptError:
        """The error for a document in which a reader found a fault that its shape allows."""
        return documents.corrupt(self._where(key), problem, kind_of(key).remedy)

    def put_file(self, key: str, path: Path) -> None:
        with explained(self._where(key)):
            transfers.upload(self.client, self.bucket, self._key(key), path)

    def get_file(self, key: str, path: Path) -> Path:
        self.download(key, path)
        return path

    def download(self, key: str, path: Path) -> str:
        """Downloads an object to a file, and returns the SHA-256 of its bytes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as part, explained(self._where(key), path, lambda: self.size(key)):
            return transfers.download(self.client, self.bucket, self._key(key), part)

    def get_folder(self, prefix: str, into: Path) -> int:
        """Downloads everything under a prefix to a folder; returns the number of files. StoreError
        for a key that leads out of the folder.
        """
        names = {
            key: documents.checked_name(key[len(prefix) :], self._where(key))
            for key in self.list(prefix)
        }
        in_threads(lambda key: self.get_file(key, into / names[key]), names)
        return len(names)

    def list(self, prefix: str) -> list[str]:
        """All keys under a prefix, relative to the store's own, sorted."""
        return sorted(self.entries(prefix))

    def entries(self, prefix: str) -> dict[str, listing.Entry]:
        """Key → entry of everything under a prefix. StoreError if the listing is incomplete."""
        items = listing.hashed_items if is_hashed(prefix) else listing.items
        return dict(items(self._page, prefix))

    def folders(self, prefix: str) -> Sequence[str]:
        """The folders directly under a prefix that ends with `/` or is empty."""
        return listing.folders(self._page, prefix)

    def _page(self, prefix: str, **arguments: Any) -> dict[str, Any]:
        """One page of a listing, with keys relative to the store's prefix."""
        cut = len(self._key(""))
        with explained(self._where(prefix)):
            answer: dict[str, Any] = self.client.list_objects_v2(
                Bucket=self.bucket, Prefix=self._key(prefix), **arguments
            )
        for name, member in (("Contents", "Key"), ("CommonPrefixes", "Prefix")):
            items = answer.get(name, ())
            answer[name] = [{**item, member: item[member][cut:]} for item in items]
        return answer

    def listing(self, prefix: str) -> dict[str, tuple[int, str]]:
        """Key → (size, a text that changes whenever the object is written) of everything under a
        prefix.
        """
        return {key: (each.size, each.version) for key, each in self.entries(prefix).items()}

    def written(self, prefix: str) -> dict[str, tuple[int, float]]:
        """Key → (size, time of writing in seconds since 1970 by the server's clock) of everything
        under a prefix.
        """
        return {key: (each.size, each.written) for key, each in self.entries(prefix).items()}

    def delete(self, prefix: str) -> None:
        """Deletes a key, or everything under a prefix that ends with `/`."""
        for key in self.list(prefix) if prefix.endswith("/") else [prefix]:
            with explained(self._where(key)):
                self.client.delete_object(Bucket=self.bucket, Key=self._key(key))
