"""Prints the subcommands of az keyvault that take --hsm-name, one a line, as the installed az itself knows them."""
from azure.cli.core import get_default_cli

cli = get_default_cli()
cli.invocation = cli.invocation_cls(
    cli_ctx=cli, parser_cls=cli.parser_cls, commands_loader_cls=cli.commands_loader_cls, help_cls=cli.help_cls)
loader = cli.invocation.commands_loader
loader.load_command_table(["keyvault"])
for name in sorted(n for n in loader.command_table if n.startswith("keyvault ")):
    cli.invocation.data["command_string"] = loader.command_name = name
    loader.load_arguments(name)
    if any("--hsm-name" in (a.options_list or []) for a in loader.command_table[name].arguments.values()):
        print(name)
