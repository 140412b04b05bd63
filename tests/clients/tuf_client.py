"""The client of python-tuf, on a repository in a folder: what it believes, it downloads.

usage: tuf_client.py REPOSITORY ROOT STATE TARGET
Prints `none`, or the length and SHA-256 of the target; an error of TUF's ends it with its name.
"""

import hashlib
import pathlib
import sys
from urllib.parse import urlparse

from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig


class Folder(FetcherInterface):
    """Files of the folder, in place of a network."""

    def _fetch(self, url):
        path = pathlib.Path(urlparse(url).path)
        if not path.is_file():
            raise DownloadHTTPError("not there", 404)
        with path.open("rb") as file:
            while piece := file.read(65536):
                yield piece


def main():
    repository, root, state, target = sys.argv[1:]
    folder = pathlib.Path(state)
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    updater = Updater(
        metadata_dir=str(folder),
        metadata_base_url=f"file://{repository}/metadata/",
        target_dir=str(folder / "targets"),
        target_base_url=f"file://{repository}/targets/",
        fetcher=Folder(),
        bootstrap=pathlib.Path(root).read_bytes(),
        config=UpdaterConfig(prefix_targets_with_hash=True),
    )
    try:
        updater.refresh()
        info = updater.get_targetinfo(target)
        if info is None:
            print("none")
            return 0
        content = pathlib.Path(updater.download_target(info)).read_bytes()
    except RepositoryError as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    print(len(content), hashlib.sha256(content).hexdigest())
    return 0


sys.exit(main())
