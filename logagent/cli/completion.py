# SPDX-License-Identifier: Apache-2.0
"""`logagent completion`: prints the script with which a shell completes commands and options."""

import click
from click.shell_completion import get_completion_class

from logagent.cli.common import Exit

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_LOGAGENT_COMPLETE"


@click.command(
    short_help="Print the completion script of a shell.",
    epilog="""\b
    Example: eval "$(logagent completion bash)"

    That line in ~/.bashrc, or with zsh for bash in ~/.zshrc, keeps it. For fish: logagent completion fish >
    ~/.config/fish/completions/logagent.fish""",
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the script that lets SHELL complete the commands and options of logagent."""
    found = get_completion_class(shell)
    if found is None:  # click knows all three
        raise click.UsageError(f"no completion for {shell}")
    script = found(context.find_root().command, {}, "logagent", VARIABLE)
    # Not script.source(): it starts a bash to ask for its version, which need not be on this machine.
    click.echo(script.source_template % script.source_vars())
    return Exit.OK
