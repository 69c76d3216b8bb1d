"""Files that ship inside installed Python packages: read as files, the packages are never imported."""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import pathlib

import numpy as np

from research.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Installed:
    """A file of a package, the command that installs it, and the digest of its numbers where splits rely on them."""

    package: str
    distribution: str
    file: str
    install: str
    digest: str = ""

    def read(self) -> tuple[str, dict[str, str]]:
        """Return the text of the file and where it comes from. Raises as `content`."""
        content, origin = self.content()
        return content.decode(), origin

    def content(self) -> tuple[bytes, dict[str, str]]:
        """Return the bytes of the file and where it comes from.

        Raises:
            UsageError: the package is not installed, or it no longer ships the file.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise UsageError(f"{self.file} of {self.distribution} is not installed; run: {self.install}")
        path = pathlib.Path(spec.submodule_search_locations[0]) / self.file
        version = importlib.metadata.version(self.distribution)
        if not path.is_file():
            raise UsageError(f"{self.distribution} {version} does not ship {self.file}; run another version")
        content = path.read_bytes()
        origin = {
            "source": f"{self.distribution} {version}, {self.package}/{self.file}",
            "source_sha256": hashlib.sha256(content).hexdigest(),
        }
        return content, origin

    def check(self, *arrays: np.ndarray) -> None:
        """Raise `UsageError` unless the numbers parsed from the file are those the splits were made for."""
        if digest(*arrays) != self.digest:
            version = importlib.metadata.version(self.distribution)
            raise UsageError(
                f"{self.file} of {self.distribution} {version} holds other numbers than it used to; run another version"
            )


def digest(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the bytes of arrays, one after the other."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
