"""Help: commands in groups, options in sections, what an option is where nothing is given."""

import importlib
import pkgutil
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import taistore_cli
from taistore_cli.commands import GROUPS, grouped, module_name, names
from taistore_cli.main import main
from taistore_cli.reference import every_command
from taistore_cli.sections import ELSEWHERE, EVERYDAY, MACHINE, SECTIONS, section_of

NUMBERS_AND_CHOICES = (click.Choice, click.IntRange, click.FloatRange)
WITHOUT = ("--shots",)
"""Numbers and choices that a job needs, and that nobody can choose for it."""


def found(words: tuple[str, ...]) -> tuple[click.Command, click.Context]:
    command: click.Command = main
    context = click.Context(main, info_name="taistore", **main.context_settings)
    for word in words:
        assert isinstance(command, click.Group)
        inner = command.get_command(context, word)
        assert inner is not None, words
        command, context = inner, click.Context(inner, info_name=word, parent=context)
    return command, context


def options() -> Iterator[tuple[str, click.Option, str, object]]:
    """Path, option, its line of help and its default, of all commands."""
    for words in every_command():
        command, context = found(words)
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if isinstance(parameter, click.Option) and record is not None:
                yield " ".join(words), parameter, record[1], parameter.to_info_dict()["default"]


def test_the_list_of_commands_is_what_is_there() -> None:
    defined = {
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(taistore_cli.__path__)
        if module.name != "__main__"
        and hasattr(importlib.import_module(f"taistore_cli.{module.name}"), "command")
    }
    assert set(names()) == defined, "list a new command in taistore_cli.commands.GROUPS"


def test_a_command_without_a_module_is_not_listed() -> None:
    given = [name for commands in GROUPS.values() for name in commands]
    assert len(given) == len(set(given))
    shown = CliRunner().invoke(main, ["--help"]).stdout
    for name in given:
        there = f"\n  {name} " in shown
        assert there == (name in names())
        if there:
            assert importlib.import_module(module_name(name)).command.name is not None


def test_commands_are_listed_in_groups_each_in_a_line() -> None:
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80).stdout
    places = [shown.index(f"\n{heading}:\n") for heading in grouped()]
    assert places == sorted(places)
    for commands in grouped().values():
        for name, line in commands.items():
            assert f"  {name} " in shown
            assert f"  {line}\n" in shown, f"{name}: too long for a line of 80 columns"


def test_everyday_options_come_first_and_output_last() -> None:
    shown = CliRunner().invoke(main, ["train", "--help"]).stdout
    headings = [line[:-1] for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    wanted = [heading for heading in SECTIONS if heading in headings]
    assert headings == wanted
    assert (headings[0], headings[-1]) == (EVERYDAY, MACHINE)
    assert shown.index("--task") < shown.index("--epochs") < shown.index("--weight-decay")
    assert shown.index("--weight-decay") < shown.index("--json")


def test_the_same_option_may_lie_elsewhere_in_a_command() -> None:
    assert section_of("train", "--epochs") != section_of("reproduce", "--epochs")
    shown = CliRunner().invoke(main, ["reproduce", "--help"]).stdout
    assert shown.index("For the method paper:") < shown.index("  --epochs")
    assert "Method:" not in shown


def test_a_groups_own_commands_have_sections_too() -> None:
    shown = CliRunner().invoke(main, ["runs", "rm", "--help"]).stdout
    assert f"\n{MACHINE}:\n" in shown


def test_every_option_of_the_tables_exists() -> None:
    known = {(path, name) for path, option, *_ in options() for name in option.opts}
    anywhere = {name for _, name in known}
    assert {name for found in SECTIONS.values() for name in found} - anywhere == set()
    elsewhere = {(path, name) for path, found in ELSEWHERE.items() for name in found}
    assert elsewhere - known == set()


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_example_parses(words: tuple[str, ...]) -> None:
    command, _ = found(words)
    text = (command.help or "").split("Example", 1)[1]
    lines = [line.split(" | ")[0] for line in text.splitlines() if "  taistore " in line]
    examples = [shlex.split(line) for line in lines]
    assert any(example[1 : len(words) + 1] == list(words) for example in examples)
    for example in examples:
        called = next(
            one
            for one in sorted(every_command(), key=len, reverse=True)
            if tuple(example[1 : len(one) + 1]) == one
        )
        named, context = found(called)
        given, left, _ = named.make_parser(context).parse_args(example[len(called) + 1 :])
        assert left == []
        for parameter in named.params:
            value = given.get(parameter.name or "")
            assert not (parameter.required and not isinstance(value, str | tuple)), example
            if isinstance(value, str) and not isinstance(parameter.type, click.Path):
                parameter.type_cast_value(context, value)


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_numbers_and_choices_say_their_default(words: tuple[str, ...]) -> None:
    for path, option, line, default in options():
        if path != " ".join(words) or option.is_flag or option.required:
            continue
        if default is not None and option.show_default is not False:
            assert line.count("default: ") == 1, f"{option.opts[0]}: {line}"
        elif isinstance(option.type, NUMBERS_AND_CHOICES) and option.opts[0] not in WITHOUT:
            assert "default" in line.lower(), f"{option.opts[0]}: {line}"
