"""Help in sections: everyday options first, then those that fewer need, by one table of options.

An option that the table does not name is an everyday one.
"""

from collections.abc import Iterator, Mapping
from typing import Self

import click

from taistore_cli.usage import no_such_command, too_many

EVERYDAY = "Options"
METHOD = "Method"
FOR_PROMPTS = "For coop, dualcoop, tai-dpt and t2i-pal"
FOR_MODELS = "For models that write or draw"
FOR_PAPER = "For the method paper"
FOR_T2I_PAL = "For t2i-pal"
FOR_EXPERIMENTS = "For experiments"
MACHINE = "Machine and output"

SECTIONS: Mapping[str, tuple[str, ...]] = {
    EVERYDAY: (),
    METHOD: (
        *("--method", "--paper", "--network", "--loss", "--shift", "--radius", "--epochs"),
        *("--step", "--rule", "--weights"),
    ),
    FOR_PROMPTS: (
        *("--context", "--context-init", "--class-specific", "--variant", "--spatial"),
        *("--prototypes", "--alpha", "--beta", "--gamma"),
    ),
    FOR_MODELS: (
        *("--base-url", "--model", "--concurrency", "--timeout", "--tensor-parallel"),
        *("--gpu-memory", "--instructions", "--temperature", "--max-tokens", "--lost-labels"),
        *("--steps", "--guidance", "--size"),
    ),
    FOR_PAPER: (),
    FOR_T2I_PAL: (),
    FOR_EXPERIMENTS: (
        *("--seed", "--shot-seed", "--mask-seed", "--learn-from", "--text-weights"),
        *("--pseudo-counts", "--neighbours", "--neighbour-index", "--image-radius"),
        *("--image-where", "--image-batch", "--where", "--batch", "--sampled-labels", "--lr"),
        *("--hidden", "--dropout", "--weight-decay", "--max-labels", "--texts-per-combination"),
        *("--min-per-label", "--protocol", "--bootstrap", "--synthetic", "--label-counts"),
    ),
    MACHINE: (
        *("--device", "--precision", "--batch-size", "--workers", "--max-rejects"),
        *("--json", "--quiet", "--debug", "--help"),
    ),
}
"""Headings in their order, and the options under each."""

ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "train": {"--known": METHOD, "--temperature": FOR_PROMPTS},
    "centroids": {"--known": FOR_EXPERIMENTS, "--k": FOR_EXPERIMENTS, "--synthetic": EVERYDAY},
    "reproduce": {
        **{"--method": EVERYDAY, "--radius": FOR_PAPER, "--image-radius": FOR_PAPER},
        **{"--hidden": FOR_PAPER, "--dropout": FOR_PAPER, "--epochs": FOR_PAPER},
        **{"--scores": FOR_PAPER, "--part": FOR_T2I_PAL, "--images": FOR_T2I_PAL},
        **{"--image-model": FOR_T2I_PAL, "--image-url": FOR_T2I_PAL, "--per-text": FOR_T2I_PAL},
    },
    "compare": {"--bootstrap": EVERYDAY},
    "calibrate": {"--precision": EVERYDAY},
    "score": {"--precision": EVERYDAY},
    "convert-checkpoint": {"--model": EVERYDAY},
}
"""Options that mean something else in a command, and their headings there."""

_OF_OPTION = {option: heading for heading, options in SECTIONS.items() for option in options}


def section_of(command: str, option: str) -> str:
    """The heading of an option of a command.

    >>> section_of("train", "--epochs"), section_of("reproduce", "--epochs")
    ('Method', 'For the method paper')
    >>> section_of("train", "--out")
    'Options'
    """
    return ELSEWHERE.get(command, {}).get(option) or _OF_OPTION.get(option, EVERYDAY)


class SectionCommand(click.Command):
    """A command whose help lists its options in sections."""

    path: str

    @classmethod
    def of(cls, command: click.Command, path: str) -> Self:
        """The same command in this form; ``path`` is what calls it, such as ``runs rm``."""
        made = cls(command.name)
        vars(made).update(vars(command))
        made.path = path
        return made

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; many photos where one folder is meant are told so in a line."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            # Any other class is about one option, whose message says enough.
            if type(error) not in (click.UsageError, click.MissingParameter):
                raise
            wanted = too_many(self, ctx, given)
            if wanted is None:
                raise
            raise click.UsageError(wanted, ctx) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list for each section."""
        for heading, records in _records(self, self.path, ctx):
            with formatter.section(heading):
                formatter.write_dl(records)


class SectionGroup(SectionCommand, click.Group):
    """A group of commands whose help, and that of each of them, is in sections."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of its commands, its help in sections."""
        found = super().get_command(ctx, cmd_name)
        return None if found is None else in_sections(found, f"{self.path} {cmd_name}")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; a name near to the one given is suggested."""
        if args[0] not in self.commands:
            raise no_such_command(args[0], ctx, self.commands)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def in_sections(command: click.Command, path: str) -> click.Command:
    """A command, or a group of them, with its help in sections."""
    kind = SectionGroup if isinstance(command, click.Group) else SectionCommand
    return kind.of(command, path)


def _records(
    command: click.Command, path: str, ctx: click.Context
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Headings in the table's order, each with its options' lines in the command's order."""
    found: dict[str, list[tuple[str, str]]] = {heading: [] for heading in SECTIONS}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None and isinstance(parameter, click.Option):
            found[section_of(path, max(parameter.opts, key=len))].append(record)
    yield from ((heading, records) for heading, records in found.items() if records)
