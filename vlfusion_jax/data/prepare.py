"""Building a TFDS data set: by one process at a time, quietly, and whole or not at all."""

import fcntl
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import tensorflow_datasets as tfds


def prepare(folder: Path, name: str, make: Callable[[], tfds.core.DatasetBuilder]) -> tfds.core.DatasetBuilder:
    """Build data set `name` below `folder`, where that is not done yet, with the builder that `make` gives.

    TFDS builds in a folder of its own and renames it at the end, so nothing that looks finished is left where it fails.
    Processes that share `folder` wait for the one that builds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f".{name}.lock"):
        builder = make()  # sees what another process built while this one waited
        tfds.disable_progress_bar()  # our bars know how many images there will be
        try:
            # TFDS announces a download that does not happen, and makes a folder for it.
            with redirect_stdout(io.StringIO()), TemporaryDirectory() as empty:
                config = tfds.download.DownloadConfig(try_download_gcs=False)
                builder.download_and_prepare(download_dir=empty, download_config=config)
        finally:
            tfds.enable_progress_bar()
            with suppress(OSError):  # not empty, or never made
                (folder / name).rmdir()
    return builder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file closes, also when the process dies
        yield
