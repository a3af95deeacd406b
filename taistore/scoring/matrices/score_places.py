"""Where a matrix of scores goes, looked at before anything is loaded."""

from pathlib import Path

from taistore.errors import ScoringError
from taistore.scoring.matrices.score_file import IDS_SUFFIX, LABELS_SUFFIX
from taistore.scoring.tags.output_place import require_writable
from taistore.store.places import local_path


def require_score_files(out: str | Path, *, overwrite: bool) -> tuple[Path, ...]:
    """The files of an export, that of the scores first.

    Raises :class:`ScoringError` where one cannot be written or, without ``overwrite``, is there.
    """
    files = _files(local_path(out, option="out"))
    for file in files:
        require_writable(file, option="out")
        if file.exists() and not overwrite:
            raise ScoringError(
                f"{file} is there already: give overwrite= to replace it, or another out="
            )
    return files


def _files(path: Path) -> tuple[Path, ...]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return (path,)
    if suffix == ".npy":
        beside = path.with_suffix("")
        return (path, *(Path(f"{beside}{end}") for end in (IDS_SUFFIX, LABELS_SUFFIX)))
    raise ScoringError(f"{path}: end its name in .parquet or .npy, which says what is written")
