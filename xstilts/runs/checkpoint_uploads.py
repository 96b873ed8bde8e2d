"""Uploads checkpoints of a finetune step while it trains.

The state is first written to local files, which training does not change. At most one upload is in
progress: the next checkpoint waits for it. Older checkpoints are deleted only after a newer one is
complete, so a crash at any point leaves a complete checkpoint.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from xstilts.errors import StoreError
from xstilts.store.store import Store
from xstilts.training.workers import Workers

#: Complete checkpoints that a step keeps. The second allows a resume where the newest is corrupt:
#: its error says which folder to delete.
KEPT = 2


class CheckpointUploads:
    """The uploads of one attempt of a step. As a context manager it waits for the last upload when
    the body ends for any reason.
    """

    def __init__(self, store: Store, fingerprint: str, attempt: str) -> None:
        self._store, self._fingerprint, self._attempt = store, fingerprint, attempt
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-upload")
        self._upload: Future[None] | None = None

    def put(self, write: Callable[[], Mapping[str, Path]], update: int) -> None:
        """Waits for the previous upload, calls `write` for the files of the state at an update, and
        starts their upload. The files may not change until `wait` returns.

        Raises:
            StoreError: The previous upload failed.
        """
        self.wait()
        self._upload = self._thread.submit(self._put, write(), update)

    def wait(self) -> None:
        """Waits for the upload in progress. Raises the error of an upload that failed, once."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.result()

    def _put(self, files: Mapping[str, Path], update: int) -> None:
        self._store.put_checkpoint(self._fingerprint, self._attempt, files, {"update": update})
        self._store.delete_older_checkpoints(self._fingerprint, KEPT)

    def __enter__(self) -> "CheckpointUploads":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()


def on_first(workers: Workers, action: Callable[[], None]) -> None:
    """Runs an action on the first worker. If the store fails there, every worker raises
    StepFailed.
    """
    error: str | None = None
    if workers.rank == 0:
        try:
            action()
        except (StoreError, OSError) as raised:
            error = f"a checkpoint cannot be kept: {raised}"
    workers.agree(error)
