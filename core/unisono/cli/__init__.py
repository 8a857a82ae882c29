"""The command line. Each command's module is imported when it is needed, so help comes at once."""

from __future__ import annotations

import importlib
import importlib.metadata
import signal
from typing import Any

import click

from .. import __version__
from . import terminal

_COMMANDS = {  # name: module, what the list of commands says
    "serve": ("serve", "Serve everything installed through OpenAI's API."),
    "say": ("say", "Speak a text: to a file, a pipe or the speakers."),
    "transcribe": ("transcribe", "Write down what is said in recordings."),
    "pull": ("pull", "Download the weights of models."),
    "models": ("listing", "List the models."),
    "voices": ("voices", "List the voices of a model; store voices of your own."),
    "plugins": ("listing", "List the plugins, and why one does not work."),
    "doctor": ("doctor", "Say what keeps a model from working, and what to do."),
    "config": ("listing", "Show the configuration and where it comes from."),
}


class Cli(click.Group):
    """The kernel's commands, and those that plugins add through `register_commands`.

    Plugins are imported only to list all commands, or for a command that the kernel lacks.
    """

    _asked_plugins = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, the kernel's first."""
        self._ask_plugins()
        return [*_COMMANDS, *sorted(self.commands.keys() - _COMMANDS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return a command."""
        if name in _COMMANDS:
            module = importlib.import_module(f".{_COMMANDS[name][0]}", __name__)
            command: click.Command = getattr(module, name)
            return command
        self._ask_plugins()
        return self.commands.get(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing the kernel's own."""
        rows = []
        for name in self.list_commands(ctx):
            known = _COMMANDS.get(name)
            rows.append((name, known[1] if known else self.commands[name].get_short_help_str(60)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what users can mend ends as one line and status 1."""
        from ..errors import ConfigError, PluginError, SpeechError  # noqa: PLC0415

        try:
            return super().invoke(ctx)
        except (SpeechError, ConfigError, PluginError) as error:
            raise click.ClickException(terminal.explain(error)) from error
        except KeyboardInterrupt:
            raise SystemExit(128 + signal.SIGINT) from None
        except BrokenPipeError:  # `unisono voices | head`
            raise SystemExit(terminal.BROKEN_PIPE) from None
        except OSError as error:
            raise click.ClickException(terminal.explain(error)) from error

    def _ask_plugins(self) -> None:
        if not self._asked_plugins:
            self._asked_plugins = True
            for entry_point in importlib.metadata.entry_points(group="unisono"):
                self._ask(entry_point)

    def _ask(self, entry_point: importlib.metadata.EntryPoint) -> None:
        """Let one plugin add its commands, without asking for its engines: that takes longer."""
        import pluggy  # noqa: PLC0415

        from .. import hookspecs  # noqa: PLC0415

        plugins = pluggy.PluginManager("unisono")
        plugins.add_hookspecs(hookspecs)
        try:
            plugins.register(entry_point.load())
            plugins.hook.register_commands(cli=self)
        # Foreign code: it must not take the other commands away.
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            terminal.warn(f"The commands of plugin {entry_point.name!r} are left out: {reason}")


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="unisono")
@click.option("--debug", is_flag=True, help="Log everything, with tracebacks.")
def main(debug: bool) -> None:
    """Speech engines behind one API: serve them, speak with them, listen with them."""
    terminal.prepare(debug=debug)
