"""Help in sections: options that few need are listed under a heading of their own."""

from typing import Any

import click

FOR_EXPERIMENTS = "For experiments"
FOR_PROMPTS = "For coop, dualcoop, tai-dpt and t2i-pal"


class SectionOption(click.Option):
    """An option that ``--help`` lists under ``section``."""

    def __init__(self, *declarations: Any, section: str, **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.section = section


class SectionCommand(click.Command):
    """A command whose help lists plain options first, then those of each section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list for each section."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                name = parameter.section if isinstance(parameter, SectionOption) else "Options"
                sections.setdefault(name, []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)
