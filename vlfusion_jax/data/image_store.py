"""Files of images by name, pixels or regions, from a folder or from tar files that stay packed."""

import os
import tarfile
import weakref
from itertools import islice
from pathlib import Path, PurePosixPath

from vlfusion_jax.core.errors import UserError

IMAGES, REGIONS = "images", "regions"


class ImageStore:
    """Reads files by name from `<kind>*.tar` files in a folder, from its `<kind>/` folder, or from the folder itself.

    Names are relative paths with `/`; in a tar file they may begin with `<kind>/`. The places are searched in that
    order; of a name that comes twice in one tar file the last counts, as for tar itself. Thread-safe: tar members are
    read with `os.pread`, which shares no file position.
    """

    def __init__(self, folder: Path, kind: str = IMAGES):
        """Index the tar files of `folder` (headers only). Raises UserError for a tar file that cannot be read.

        `kind` is IMAGES, or REGIONS for those that a detector found in them.
        """
        self.kind = kind
        self._folder = folder
        self._members: dict[str, tuple[int, int, int, str]] = {}
        for path in sorted(folder.glob(f"{kind}*.tar")):
            self._index(path)

    def _index(self, path: Path) -> None:
        places: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.isfile():
                        places[normal_name(member.name)] = member.offset_data, member.size
                    elif member.islnk() and (target := places.get(normal_name(member.linkname))):
                        places[normal_name(member.name)] = target
            descriptor = os.open(path, os.O_RDONLY)
        except (OSError, tarfile.TarError) as error:
            raise UserError(f"cannot read '{path}' as an uncompressed tar file: {error}") from error
        weakref.finalize(self, os.close, descriptor)
        for name, place in places.items():
            self._members.setdefault(name, (descriptor, *place, str(path)))

    def _member(self, name: str) -> tuple[int, int, int, str] | None:
        name = normal_name(name)
        return self._members.get(name) or self._members.get(f"{self.kind}/{name}")

    def tar_names(self, count: int) -> list[str]:
        """The first names in the tar files, at most `count`, to show in messages."""
        return list(islice(self._members, count))

    def find(self, name: str) -> str | None:
        """Where file `name` lies, as a path to show in messages; None where there is no such file."""
        if member := self._member(name):
            return f"{member[3]}:{name}"
        path = self._path(name)
        return None if path is None else str(path)

    def _path(self, name: str) -> Path | None:
        candidates = (self._folder / self.kind / name, self._folder / name)
        return next((path for path in candidates if os.path.isfile(path)), None)  # Path.is_file may raise

    def read(self, name: str) -> bytes:
        """The file as stored. Raises UserError where it has gone or was cut since the store was opened."""
        if member := self._member(name):
            descriptor, offset, size, path = member
            data = os.pread(descriptor, size, offset)
            if len(data) != size:
                raise UserError(f"'{path}' ends inside file '{name}': the tar file is cut short.")
            return data
        path = self._path(name)
        if path is None:
            raise UserError(f"file '{name}' is no longer in '{self._folder}'.")
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read '{path}': {error}") from error


def normal_name(name: str) -> str:
    """The one spelling of names that mean the same file, such as `a.png` and `./a.png`."""
    return str(PurePosixPath(name))
