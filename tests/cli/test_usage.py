"""Wrong usage is told in two lines: what is wrong and what to write, and where the help is."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from taistore_cli.main import main


def told(*arguments: str) -> list[str]:
    """What a wrong command line says, all of it on stderr."""
    result = CliRunner().invoke(main, arguments, prog_name="taistore")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()


@pytest.mark.parametrize(
    ("given", "said", "help_of"),
    [
        ("inti", "no such command 'inti': did you mean 'init'?", ""),
        ("runs remove", "no such command 'remove'", "runs"),
        ("encoders r", "no such command 'r'", "encoders"),
        ("show --stroe X", "no such option '--stroe': did you mean '--store'?", "show"),
        ("tag p --lables l.txt", "no such option '--lables': did you mean '--labels'?", "tag"),
        ("show -x", "no such option '-x'", "show"),
        ("--store X show", "give --store after the command: taistore show --store X", ""),
        ("--store=X show", "give --store after the command: taistore show --store=X", ""),
        ("--json runs rm a", "give --json after the command: taistore runs rm a --json", ""),
        (
            "runs --store X rm a",
            "give --store after the command: taistore runs rm ... --store",
            "runs",
        ),
        ("--top-k 3 show", "no such option '--top-k'", ""),
        ("--json", "no such option '--json'", ""),
        (
            "--store s3://me:secret@here/x show",
            "give --store after the command: taistore show --store s3://here/x",
            "",
        ),
        ("tag", "missing argument 'PHOTOS'", "tag"),
        ("tag p --labels", "option '--labels' requires an argument", "tag"),
        ("doctor one", "there is no place for the argument 'one'", "doctor"),
        (
            "find a dog on --top-k 3",
            "the text is one argument: put it in quotes: 'a dog on'",
            "find",
        ),
        (
            "doctor one two three",
            "there is no place for the argument 'one' and 2 more",
            "doctor",
        ),
        (
            "train --task zlo",
            "invalid value for '--task': 'zlo' is not one of 'zsl', 'fsl', 'pll'",
            "train",
        ),
        (
            "texts audit captions.txt --writer template",
            "--writer selects texts of the store: leave it out with a file",
            "texts audit",
        ),
    ],
    ids=lambda value: value if " " not in value else value.split()[0],
)
def test_wrong_usage_is_a_line_and_where_the_help_is(given: str, said: str, help_of: str) -> None:
    path = f"taistore {help_of}".strip()
    assert told(*given.split()) == [f"taistore: {said}", f"try '{path} --help'"]


def test_a_line_break_in_an_argument_breaks_no_line() -> None:
    assert len(told("doctor", "a\nb")) == 2
    assert len(told("a\nb\x1b[1m")) == 2


@pytest.mark.parametrize(
    "command",
    [
        ["tag", "--labels", "labels.txt"],
        ["ingest-images"],
        ["prune"],
        ["score", "latest", "--out", "tags.csv"],
        ["score", "latest"],
        ["score", "--out", "tags.csv"],
    ],
    ids=" ".join,
)
def test_photos_that_the_shell_made_of_a_pattern(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my photos").mkdir()
    photos = [f"my photos/{number}.jpg" for number in range(12)]
    for photo in photos:
        Path(photo).write_bytes(b"")
    said = told(*command, *photos)
    name = "PHOTOS" if command[0] in ("tag", "score") else "PATH"
    assert said[0] == (
        f"taistore: {name} is one folder or manifest, not 12 files: name the folder, "
        "'my photos/', or a manifest that lists them"
    )
    assert len(said) == 2
    elsewhere = tmp_path / "a.jpg"
    elsewhere.write_bytes(b"")
    assert "name the folder that they are in, or" in told(*command, *photos, str(elsewhere))[0]


def test_nothing_at_all_shows_the_help() -> None:
    said = told()
    assert said[0].startswith("Usage: taistore")
    assert "Main job:" in said
