"""The Lance tables at one place, by their whole names, such as ``text_vectors__<encoder_id>``.

They are LanceDB's tables. What only reads or commits goes by the Lance format beneath it, whose
import takes a fifth of LanceDB's; LanceDB is loaded where it is needed.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, cast

import lance

from taistore.store.lance_errors import reaching, reading
from taistore.store.places import is_remote, storage_options

_ENDING = ".lance"

METADATA_BYTES = 32 * 2**20
"""What Lance may keep of the manifests and files that it has opened.

Left alone it keeps up to 1 GiB: of every commit its manifest, which names all fragments.
"""

INDEX_BYTES = 256 * 2**20
"""What Lance may keep of indexes, as far as they are asked: some 40 bytes a row, 6,000,000 rows.

Left alone it keeps up to 6 GiB. Where an index does not fit, each look-up reads much of it anew.
"""


class LanceTables:
    """The tables of one LanceDB database; the place need not be there."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        # What is cached of manifests and indexes serves every opening of a table.
        self._session = session()

    @cached_property
    def _database(self) -> Any:
        # Seven tenths of a second, which a command that looks at tables should not spend.
        import lancedb

        with reaching(self.uri, "be opened"):
            return lancedb.connect(self.uri, storage_options=storage_options(self.uri))

    def listed(self) -> list[str]:
        """Names of all folders of tables, whatever state these are in."""
        with reaching(self.uri, "list the tables"):
            if not is_remote(self.uri):
                folders = Path(self.uri).iterdir() if Path(self.uri).exists() else ()
                return sorted(path.stem for path in folders if path.suffix == _ENDING)
            names: list[str] = []
            page = self._database.list_tables(limit=1000)
            names.extend(page.tables)
            while page.page_token:
                page = self._database.list_tables(page_token=page.page_token, limit=1000)
                names.extend(page.tables)
        return sorted(names)

    def names(self) -> list[str]:
        """Names of all tables that exist."""
        # A job that was killed while it made a table leaves a folder without a version in it.
        return [name for name in self.listed() if self.newest(name) is not None]

    def newest(self, name: str) -> Any:
        """The table as it is now, as a ``lance.LanceDataset``; None where there is none."""
        with reading(self.uri, name):
            try:
                return self._opened(name)
            except ValueError as error:
                if _is_none(error):
                    return None
                raise

    def dataset(self, name: str, *, version: int | None = None) -> Any:
        """A table that exists, as a ``lance.LanceDataset``; VersionGoneError where it is gone."""
        with reading(self.uri, name):
            newest = self._opened(name)
        with reading(self.uri, name, version=version):
            return newest if version is None else newest.checkout_version(version)

    def _opened(self, name: str) -> Any:
        options = storage_options(self.uri)
        return lance.dataset(self.place(name), storage_options=options, session=self._session)

    def place(self, name: str) -> str:
        """The URI of a table, whether there is one or not."""
        return f"{self.uri.rstrip('/')}/{name}{_ENDING}"

    def overwrite(self, name: str, reader: Any) -> None:
        """Put what a ``pyarrow.RecordBatchReader`` gives, its schema too, in a table's place."""
        self._database.create_table(name, reader, schema=reader.schema, mode="overwrite")

    def drop(self, name: str) -> None:
        """Remove the files of a table; nothing where there is none."""
        self._database.drop_table(name, ignore_missing=True)


def session() -> Any:
    """A new cache for what is opened with it."""
    return cast(Any, lance).Session(
        index_cache_size_bytes=INDEX_BYTES, metadata_cache_size_bytes=METADATA_BYTES
    )


def _is_none(error: ValueError) -> bool:
    """Whether it says that a folder has no version in it, or that there is no folder."""
    text = str(error).lower()
    return text.startswith("dataset at path") and "was not found" in text
