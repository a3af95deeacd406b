"""Labels that are added, renamed, merged and retired in a store that is in use.

Every edit is one commit to the table ``labels`` and rewrites no other: a label keeps its id, and
who reads the store sees the labels that are left (:mod:`taistore.store.tables.label_view`). An edit
rests on the labels as they are, so that of two at once each sees what the other did.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from taistore.errors import LabelError, StoreError, UnknownLabelError
from taistore.labels import Label, LabelSet, normalise_name
from taistore.store.store import Store
from taistore.store.tables.label_view import StoredLabel
from taistore.store.writes.commits import tries

Rows = Sequence[StoredLabel]


@dataclass(frozen=True, kw_only=True, slots=True)
class AddedLabels:
    """Keys of labels that are new, were brought back, have other synonyms, and were there."""

    added: tuple[str, ...]
    restored: tuple[str, ...]
    changed: tuple[str, ...]
    there: tuple[str, ...]


def add_labels(store: Store, labels: LabelSet) -> AddedLabels:
    """Add the labels that the store lacks, behind those that it has; bring retired ones back.

    One that is there takes the synonyms given. A label that is its own key, such as a line of text,
    may be one that is there by its key or by its name. Raises :class:`LabelError` where a key is
    there under another name, was merged into another label, or a line means several labels.
    """
    outcome: dict[str, list[str]] = {}

    def plan(rows: Rows) -> list[StoredLabel]:
        by_key, named = {row.label.key: row for row in rows}, _by_name(rows)
        addition = 1 + max(row.addition for row in rows)
        outcome.clear()
        outcome.update(added=[], restored=[], changed=[], there=[])
        changes: list[StoredLabel] = []
        for label in labels:
            before = by_key.get(label.key) or _called(named, label)
            if before is None:
                row = StoredLabel(len(rows) + len(outcome["added"]), label, addition)
                outcome["added"].append(label.key)
            else:
                row = replace(before, label=_with_synonyms(before, label, rows), retired=False)
                what = "restored" if before.retired else "there" if row == before else "changed"
                outcome[what].append(row.label.key)
            if row != before:
                changes.append(row)
        return changes

    _edit(store, plan)
    return AddedLabels(**{what: tuple(keys) for what, keys in outcome.items()})


def _by_name(rows: Rows) -> dict[str, list[StoredLabel]]:
    """Labels in use by their names; where none is called so, retired ones."""
    named: dict[str, list[StoredLabel]] = {}
    for row in sorted(rows, key=lambda row: row.retired):
        if row.merged_into is not None:
            continue
        found = named.setdefault(normalise_name(row.label.name), [])
        if not (row.retired and found and not found[0].retired):
            found.append(row)
    return named


def _called(named: Mapping[str, Sequence[StoredLabel]], label: Label) -> StoredLabel | None:
    """The label that a line of text means by its name; None where it is no such line."""
    found = named.get(normalise_name(label.name), ()) if label.name == label.key else ()
    if len(found) > 1:
        keys = ", ".join(row.label.key for row in found[:5])
        raise LabelError(f"label {label.name!r:.80} is ambiguous: use one of the keys {keys}")
    return found[0] if found else None


def _with_synonyms(before: StoredLabel, label: Label, rows: Rows) -> Label:
    if before.merged_into is not None:
        into = rows[before.merged_into].label
        raise LabelError(
            f"label {label.key!r:.80} was merged into {into.name!r:.80}: leave it out, or give it "
            "another key"
        )
    if label.name not in (before.label.name, label.key):
        raise LabelError(
            f"label {label.key!r:.80} is called {before.label.name!r:.80} here, not "
            f"{label.name!r:.80}: rename it with 'taistore labels rename', or give it another key"
        )
    # A name alone says nothing of synonyms, and takes none away.
    return replace(before.label, synonyms=label.synonyms or before.label.synonyms)


@dataclass(frozen=True, kw_only=True, slots=True)
class RenamedLabel:
    """A label as it is now, and how many captions were removed, to be written anew."""

    label: Label
    captions_removed: int = 0


def rename_label(store: Store, old: str, new: str, *, rewrite: bool = False) -> RenamedLabel:
    """Give a label another name; the one that it had becomes a synonym. Its key stays.

    Its captions stay, which say the old name; with ``rewrite`` they are removed, after which
    ``generate-texts`` writes others. Raises :class:`LabelError` where there is no such label, or
    another one is called so.
    """
    name = " ".join(new.split())
    renamed: list[Label] = []

    def plan(rows: Rows) -> list[StoredLabel]:
        row = _found(rows, old)
        if not name:
            raise LabelError(f"label {old!r:.80}: the new name is empty: give one")
        for other in rows:
            same = normalise_name(other.label.name) == normalise_name(name)
            if same and not other.retired and other.label_id != row.label_id:
                raise LabelError(
                    f"another label is called {name!r:.80} ({other.label.key!r:.80}): merge the "
                    f"two with 'taistore labels merge', or choose another name"
                )
        synonyms = [s for s in (row.label.name, *row.label.synonyms) if s != name]
        label = replace(row.label, name=name, synonyms=tuple(dict.fromkeys(synonyms)))
        renamed[:] = [label]
        return [] if label.name == row.label.name else [replace(row, label=label)]

    _edit(store, plan)
    removed = drop_captions(store, captions_of(store, renamed[0])) if rewrite else 0
    return RenamedLabel(label=renamed[0], captions_removed=removed)


def merge_labels(store: Store, old: Sequence[str], into: str) -> Label:
    """Make labels a part of another: what shows one of them shows that one from now on.

    Their names become its synonyms. An image is known not to show it where it was known not to show
    ``into``. Returns it as it is now. Raises :class:`LabelError` for a label that is not there, or
    to be merged into itself.
    """
    merged: list[Label] = []

    def plan(rows: Rows) -> list[StoredLabel]:
        target, parts = _found(rows, into), [_found(rows, name) for name in old]
        for name, part in zip(old, parts, strict=True):
            if part.label_id == target.label_id:
                what = (
                    "cannot be merged into itself" if name == into else f"is {into!r:.80} already"
                )
                raise LabelError(f"label {name!r:.80} {what}: name another one")
        names = [n for part in parts for n in (part.label.name, *part.label.synonyms)]
        synonyms = dict.fromkeys([*target.label.synonyms, *names])
        synonyms.pop(target.label.name, None)
        target = replace(target, label=replace(target.label, synonyms=tuple(synonyms)))
        merged[:] = [target.label]
        gone = {part.label_id for part in parts}
        # What was merged into one of them before goes with it: nothing leads on from there.
        moved = [
            replace(row, retired=True, merged_into=target.label_id)
            for row in rows
            if row.label_id in gone or row.merged_into in gone
        ]
        return [target, *moved]

    _edit(store, plan)
    return merged[0]


def retire_labels(store: Store, names: Sequence[str]) -> list[Label]:
    """Use labels no longer; what is known of them stays, and :func:`add_labels` brings them back.

    Returns them. Raises :class:`LabelError` for one that is not there by its key or name, and where
    none is left.
    """
    retired: list[Label] = []

    def plan(rows: Rows) -> list[StoredLabel]:
        going = {row.label_id: row for row in (_named(rows, name) for name in names)}
        if all(row.retired or row.label_id in going for row in rows):
            raise LabelError("a store needs a label: add another one before the last is retired")
        retired[:] = [row.label for row in going.values()]
        return [replace(row, retired=True) for row in going.values()]

    _edit(store, plan)
    return retired


def captions_of(store: Store, label: Label) -> list[int]:
    """The combinations of the store that a label is in, by id."""
    column, index = store.labels.keys.index(label.key), store.combination_index()
    places = index.rows_with(column)
    return [int(i) for i in index.combination_ids[places]]


def drop_captions(store: Store, combination_ids: Sequence[int]) -> int:
    """Remove the captions of combinations and their vectors; returns how many captions there were.

    Vectors first: a caption without one is encoded again, a vector without one would stay.
    """
    where = {"combination_id": list(combination_ids)}
    for info in store.encoders():
        for kind in ("token_vectors", "text_vectors"):
            if store.has(kind, info.encoder_id):
                store.remove(kind, where, encoder_id=info.encoder_id)
    return store.remove("texts", where) if store.has("texts") else 0


def _named(rows: Rows, name: str) -> StoredLabel:
    """As :func:`_found`, by a key or a name: a synonym may be of what was merged into a label."""
    row = _found(rows, name)
    if name != row.label.key and normalise_name(name) != normalise_name(row.label.name):
        raise LabelError(
            f"label {name!r:.80} is a synonym of {row.label.name!r:.80}: to retire that one give "
            f"its key, {row.label.key!r:.80}"
        )
    return row


def _found(rows: Rows, name: str) -> StoredLabel:
    """The label in use of a key, a name or a synonym; raises :class:`LabelError`."""
    in_use = [row for row in rows if not row.retired]
    try:
        return in_use[LabelSet(row.label for row in in_use).find(name)]
    except UnknownLabelError:
        named = (row for row in rows if row.retired and name in (row.label.key, row.label.name))
        gone = next(named, None)
        if gone is None:
            raise
        if gone.merged_into is not None:
            into = rows[gone.merged_into].label.key
            raise LabelError(f"label {name!r:.80} is part of {into!r:.80}: name that one") from None
        back = f"'taistore labels add {shlex.quote(name)}'"
        raise LabelError(f"label {name!r:.80} is retired: {back} brings it back") from None


def _edit(store: Store, plan: Callable[[Rows], Iterable[StoredLabel]]) -> None:
    """Do what ``plan`` makes of the labels, anew where another job came first."""
    for _ in tries():
        newest = store.dataset("labels")
        store.forget_labels()
        changes = list(plan(store.stored_labels))
        if not changes:
            return
        if store.replace("labels", [row.to_row() for row in changes], over=newest):
            store.forget_labels()
            return
    raise StoreError(
        f"{store.uri}: its labels are changed by other jobs all the time: wait for them, then run "
        "the same command again"
    )
