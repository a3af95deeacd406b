"""The Lance tables at one place, by their whole names, such as ``text_vectors__<encoder_id>``."""

from typing import Any

import lancedb

from taistore.store.lance_errors import reaching, reading
from taistore.store.places import storage_options


class LanceTables:
    """The tables of one LanceDB database; to connect makes the directory where it is none."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with reaching(uri, "be opened"):
            self._database: Any = lancedb.connect(uri, storage_options=storage_options(uri))

    def listed(self) -> list[str]:
        """Names of all folders of tables, whatever state these are in."""
        names: list[str] = []
        with reaching(self.uri, "list the tables"):
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

    def opened(self, name: str) -> Any:
        """A table that exists, as a ``lancedb.Table``."""
        with reading(self.uri, name):
            return self._database.open_table(name)

    def newest(self, name: str) -> Any:
        """The table as it is now, as a ``lance.LanceDataset``; None where there is none."""
        with reading(self.uri, name):
            try:
                return self._database.open_table(name).to_lance()
            except ValueError as error:
                if f"table '{name}' was not found" in str(error).lower():
                    return None
                raise

    def dataset(self, name: str, *, version: int | None = None) -> Any:
        """A table that exists, as a ``lance.LanceDataset``; VersionGoneError where it is gone."""
        table = self.opened(name)
        with reading(self.uri, name, version=version):
            dataset = table.to_lance()
            return dataset if version is None else dataset.checkout_version(version)

    def place(self, name: str) -> str:
        """The URI of a table, whether there is one or not."""
        return f"{self.uri.rstrip('/')}/{name}.lance"

    def overwrite(self, name: str, reader: Any) -> None:
        """Put what a ``pyarrow.RecordBatchReader`` gives, its schema too, in a table's place."""
        self._database.create_table(name, reader, schema=reader.schema, mode="overwrite")

    def drop(self, name: str) -> None:
        """Remove the files of a table; nothing where there is none."""
        self._database.drop_table(name, ignore_missing=True)
