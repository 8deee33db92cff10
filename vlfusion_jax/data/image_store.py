"""Image files by name, from a folder or from tar files that stay packed."""

import os
import tarfile
import weakref
from pathlib import Path, PurePosixPath

from vlfusion_jax.core.errors import UserError


class ImageStore:
    """Reads images by name from `images*.tar` files in a folder, from its `images/` folder, or from the folder itself.

    Names are relative paths with `/`. The places are searched in that order. Thread-safe: tar members are read with
    `os.pread`, which shares no file position.
    """

    def __init__(self, folder: Path):
        """Index the tar files of `folder` (headers only). Raises UserError for a tar file that cannot be read."""
        self._folder = folder
        self._members: dict[str, tuple[int, int, int, str]] = {}
        for path in sorted(folder.glob("images*.tar")):
            self._index(path)

    def _index(self, path: Path) -> None:
        try:
            with tarfile.open(path, "r:") as tar:
                members = [(m.name, m.offset_data, m.size) for m in tar if m.isfile()]
            descriptor = os.open(path, os.O_RDONLY)
        except (OSError, tarfile.TarError) as error:
            raise UserError(f"cannot read '{path}' as an uncompressed tar file: {error}") from error
        weakref.finalize(self, os.close, descriptor)
        for name, offset, size in members:
            self._members.setdefault(_normal(name), (descriptor, offset, size, str(path)))

    def find(self, name: str) -> str | None:
        """Where image `name` lies, as a path to show in messages; None where there is no such image."""
        if member := self._members.get(_normal(name)):
            return f"{member[3]}:{name}"
        path = self._path(name)
        return None if path is None else str(path)

    def _path(self, name: str) -> Path | None:
        candidates = (self._folder / "images" / name, self._folder / name)
        return next((path for path in candidates if path.is_file()), None)

    def read(self, name: str) -> bytes:
        """The encoded image. Raises UserError where it has gone or was cut since the store was opened."""
        if member := self._members.get(_normal(name)):
            descriptor, offset, size, path = member
            data = os.pread(descriptor, size, offset)
            if len(data) != size:
                raise UserError(f"'{path}' ends inside image '{name}': the tar file is cut short.")
            return data
        path = self._path(name)
        if path is None:
            raise UserError(f"image '{name}' is no longer in '{self._folder}'.")
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read image '{path}': {error}") from error


def _normal(name: str) -> str:
    return str(PurePosixPath(name))
