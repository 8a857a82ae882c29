"""What `say` and `transcribe` have in common: flags of the model, and one request on a kernel."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Collection, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import click
from pydantic import BaseModel

from ..errors import ConfigError, SpeechError
from ..kernel import Kernel
from ..types import Task
from .options import field_options, overrides

_FLAGS = "unisono.flags"
_MODEL = "unisono.model"
# They protect a server from its clients; here nobody is served but the owner.
_NO_LIMITS = {"limits": {"text_chars": 10**9, "audio_seconds": 10**9}}


class EngineCommand(click.Command):
    """A command whose flags include the fields of a request and the Params of the chosen model.

    Its function gets the kernel as the context's object, for `click.pass_obj`.

    :param fields: the request's shared fields.
    :param skip: fields that the command itself provides in another form.
    """

    def __init__(
        self, *args: Any, task: Task, fields: type[BaseModel], skip: Collection[str], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._task, self._fields, self._skip = task, fields, skip

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the model before the flags are parsed, for it decides which there are."""
        ctx.meta[_FLAGS] = shared = list(field_options(self._fields, self._skip))
        first = click.Context(
            self,
            resilient_parsing=True,
            ignore_unknown_options=True,
            help_option_names=ctx.help_option_names,
        )
        super().parse_args(first, list(args))
        try:
            ctx.obj = Kernel.from_config(
                first.params["config_file"],
                overrides=overrides(first.params["assignments"], _NO_LIMITS),
            )
            ctx.meta[_FLAGS] = [*shared, *self._options_of(first.params["model"], ctx)]
        except (ConfigError, SpeechError, click.UsageError) as error:
            if ctx.resilient_parsing:  # TAB was pressed
                return super().parse_args(ctx, args)
            if isinstance(error, ConfigError):  # `--help` helps nevertheless
                ctx.ignore_unknown_options = ctx.allow_extra_args = True
                super().parse_args(ctx, args)
            raise
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own flags and the generated ones."""
        *own, help_ = super().get_params(ctx)
        return [*own, *ctx.meta.get(_FLAGS, ()), help_]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the model's flags apart from those that every model has."""
        model, own = ctx.meta.get(_MODEL, ("", []))
        common = [param for param in self.get_params(ctx) if param not in own]
        for title, params in (("Options", common), (f"Options of model {model!r}", own)):
            records = [p.get_help_record(ctx) for p in params if isinstance(p, click.Option)]
            if shown := [record for record in records if record is not None]:
                with formatter.section(title):
                    formatter.write_dl(shown)

    def _options_of(self, model: str | None, ctx: click.Context) -> Iterator[click.Option]:
        catalog = ctx.obj.catalog
        if model is None and catalog.default(self._task) is None:
            return  # help works without any engine
        entry = catalog.resolve(model, self._task)
        taken = {flag for param in self.get_params(ctx) for flag in param.opts}
        own = list(field_options(entry.params_type, taken=taken))
        known = set(entry.params_type.model_fields)
        helper = catalog.diarizer(entry)
        if helper is not None:
            own += field_options(helper.params_type, known, taken)
            known |= set(helper.params_type.model_fields)
        ctx.meta[_MODEL] = (entry.id, own)
        yield from own
        # Flags of other models are parsed too, so that the kernel can say whose they are.
        for other in catalog.entries:
            if other.info.task is self._task:
                yield from field_options(other.params_type, known, taken, hidden=True)
                known |= set(other.params_type.model_fields)


def run(kernel: Kernel, work: Coroutine[Any, Any, None]) -> None:
    """Run a request and close the kernel."""

    async def supervised() -> None:
        try:
            await work
        except BaseException:
            # An engine in the midst of a long call cannot be stopped, and nobody waits for it.
            closing = asyncio.ensure_future(kernel.close())
            await asyncio.wait([closing], timeout=1)
            raise
        await kernel.close()

    # Otherwise SIGTERM would leave half a file behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    asyncio.run(supervised())


@contextmanager
def real_stdout() -> Iterator[BinaryIO]:
    """Keep the standard output for the command alone.

    Speech libraries print to it, some from C; meanwhile that goes to the standard error.
    """
    if sys.stdout is None:
        raise click.ClickException("The standard output is closed; name a file with -o.")
    sys.stdout.flush()
    number = sys.stdout.fileno()
    saved = os.dup(number)
    try:
        os.dup2(sys.stderr.fileno(), number)
        with open(saved, "wb", closefd=False) as stream:
            yield stream
    finally:
        sys.stdout.flush()
        os.dup2(saved, number)
        os.close(saved)
