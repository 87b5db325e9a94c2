"""The program `lockgate`: commands and options. Each imports its work when it runs, so that `--help` is quick."""

# ruff: noqa: PLC0415 - see the docstring

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from lockgate import SERVING
from lockgate.errors import (
    AccountsUnavailableError,
    AlreadyReportedError,
    ConfigurationError,
    LockgateError,
    Reason,
    StoreRefusedError,
    StoreUnavailableError,
    without_secrets,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lockgate.app.node import Node


class _Commands(TyperGroup):
    """Commands that show no token in a message about a wrong command line, where it stands in the wrong place."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401 - as the library has it
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            error.message = without_secrets(error.message)
            raise

    def resolve_command(  # type: ignore[override]
        self, ctx: typer.Context, args: list[str]
    ) -> tuple[str | None, Any, list[str]]:
        if args[:1] == ["version"]:
            ctx.fail("No such command 'version'. Did you mean '--version'?")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="lockgate",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="The keys that sign tokens and identity headers.", no_args_is_help=True)
routes_app = typer.Typer(help="Which paths go where.", no_args_is_help=True)
users_app = typer.Typer(help="The accounts of users, and their roles.", no_args_is_help=True)
sessions_app = typer.Typer(help="The live sessions of users.", no_args_is_help=True)
tokens_app = typer.Typer(help="The claims of a token, and whether the gateway accepts it.", no_args_is_help=True)
clients_app = typer.Typer(help="OAuth clients that have a secret.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(routes_app, name="routes")
app.add_typer(users_app, name="users")
app.add_typer(sessions_app, name="sessions")
app.add_typer(tokens_app, name="tokens")
app.add_typer(clients_app, name="clients")

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration, instead of lockgate.toml.")
]
DATA = Path(".lockgate")
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data folder of a running `lockgate dev`. Where no REDIS_URL is set, its Redis, addresses, issuer and "
        "keys count before the file; variables count before both.",
    ),
]
Algorithm = Literal["ES256", "EdDSA", "RS256"]
AsJson = Annotated[bool, typer.Option("--json", help="For programs to read.")]
Host = Annotated[str | None, typer.Option("--host", help="Where to listen, instead of server.host.")]
Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Instead of server.port; 0 takes a free one.")
]
User = Annotated[str, typer.Argument(metavar="USER", help="The name or the id of the user.")]
Role = Annotated[str, typer.Argument(metavar="ROLE", help="For example admin.")]
Workers = Annotated[
    str | None,
    typer.Option("--workers", metavar="NUMBER|auto", help="Instead of server.workers; auto: one for each usable CPU."),
]


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - a callback of the library's
    if wanted:
        from importlib.metadata import version

        typer.echo(f"lockgate {version('lockgate')} ({SERVING})")
        raise typer.Exit


@app.callback()
def lockgate(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version, and which modules serve.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    """A JWT gateway: issues tokens, validates each once at the edge, forwards signed identity to services.

    Each setting comes from the first that has it: the option of a command, a variable (LOCKGATE_SERVER__PORT), for
    commands about a deployment a `lockgate dev` that runs here, the file lockgate.toml, the default.
    """
    del version


@app.command()
def serve(  # noqa: PLR0913 - one parameter for each option
    context: typer.Context,
    *,
    config: Config = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    fd: Annotated[int | None, typer.Option("--fd", min=3, help="A listening socket that is already open.")] = None,
    redirect_fd: Annotated[
        int | None, typer.Option("--redirect-fd", min=3, help="The same for tls.redirect_port.")
    ] = None,
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", min=3, hidden=True)] = None,
    supervisor: Annotated[str | None, typer.Option("--supervisor", hidden=True)] = None,
) -> None:
    """Run the gateway alone."""
    from lockgate.cli import configuration, members
    from lockgate.cli import serve as command
    from lockgate.settings import read_file

    membership = members.join(supervisor) if supervisor else None
    parse = configuration.parser(config, host=host, port=port, workers=workers)
    configured = configuration.Configured(config, membership.text if membership else read_file(config), parse)
    command.run(
        configured,
        descriptor=fd,
        redirecting=redirect_fd,
        ready=ready_fd,
        node=context.obj,
        membership=membership,
    )


@app.command()
def dev(  # noqa: PLR0913 - one parameter for each option
    *,
    config: Config = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Databases, Redis, logs.")] = DATA,
    no_seed: Annotated[bool, typer.Option("--no-seed", help="Make no demo users and products.")] = False,
) -> None:
    """Run everything: Redis, the demo services, the gateway."""
    from lockgate.cli import configuration
    from lockgate.cli.devstack import dev as command

    settings = configuration.load_configuration(config, host=host, port=port, workers=workers)
    parse = configuration.parser(config, host=host, port=port, workers=workers)
    command.run(settings, config=config, data=data, seed=not no_seed, parse=parse)


@keys_app.command("init")
def keys_init(
    *,
    config: Config = None,
    data: Data = DATA,
    link: Annotated[
        list[str] | None,
        typer.Option("--link", metavar="ORIGIN--TARGET", help="One more link, between two services; may be repeated."),
    ] = None,
    alg: Annotated[Algorithm, typer.Option("--alg", help="Of the signing key.")] = "ES256",
    as_json: AsJson = False,
) -> None:
    """Make the missing keys: the ring, the links of the gateway."""
    from lockgate.cli import configuration, keys

    keys.init_keys(configuration.load_of_deployment(config, data), link or [], alg, as_json=as_json)


@keys_app.command("list")
def keys_list(*, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """Show which keys there are, and their states; never a secret."""
    from lockgate.cli import configuration, keys

    keys.list_keys(configuration.load_of_deployment(config, data), as_json=as_json)


@keys_app.command("rotate")
def keys_rotate(  # noqa: PLR0913 - one parameter for each option
    *,
    config: Config = None,
    data: Data = DATA,
    links: Annotated[bool, typer.Option("--links", help="The keys of every link, instead of signing keys.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="The secrets of refresh tokens, instead.")] = False,
    alg: Annotated[
        Algorithm | None, typer.Option("--alg", help="Of a new signing key; as the active one if left out.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait until every verifier knows the new key.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the next step of a rotation.

    The step publishes a new key, or lets the published key sign once every verifier knows it.
    """
    from lockgate.cli import configuration, keys

    which = keys.Which(links=links, refresh=refresh)
    keys.rotate_keys(configuration.load_of_deployment(config, data), which, alg=alg, at_once=now, as_json=as_json)


@keys_app.command("retire")
def keys_retire(*, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """End passive keys when all of their signatures have expired."""
    from lockgate.cli import configuration, keys

    keys.retire_keys(configuration.load_of_deployment(config, data), as_json=as_json)


# A key's id may begin with a hyphen, also with -h, and is no option then.
@keys_app.command("remove", context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
def keys_remove(
    kid: Annotated[str, typer.Argument(metavar="KID", help="As `lockgate keys list` shows it.")],
    *,
    config: Config = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Emergency: end a key at once. Every node refuses its signatures within 2 seconds."""
    from lockgate.cli import configuration, keys

    keys.remove_key(configuration.load_of_deployment(config, data), kid, as_json=as_json)


@keys_app.command("check")
def keys_check(*, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """Check modes, formats, states and strengths of all keys."""
    from lockgate.cli import configuration, keys

    keys.check_keys(configuration.load_of_deployment(config, data), as_json=as_json)


@app.command()
def reload(*, config: Config = None, as_json: AsJson = False) -> None:
    """Put changed rules in force, on all workers or on none.

    Exit code 2 where the gateway refuses them and goes on by its former rules; 1 where none runs by this file.
    """
    from lockgate.cli import reload as command

    command.reload(config, as_json=as_json)


@routes_app.command("diff")
def routes_diff(
    other: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Compare with this file, instead of a running gateway.")
    ] = None,
    *,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show what a reload would change.

    The configuration is compared with the running gateway, or with FILE. Exit code 2 where a reload would be refused; 1
    where no gateway runs by this configuration.
    """
    from lockgate.cli import reload as command

    command.show_differences(config, other, as_json=as_json)


@routes_app.command("check")
def routes_check(*, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """Check the configuration as a start would, print the routes. Exit code 2 where a start is refused."""
    from lockgate.cli import configuration, routes

    routes.check_routes(configuration.load_of_deployment(config, data), as_json=as_json)


@routes_app.command("match")
def routes_match(  # noqa: PLR0913 - one parameter for each option
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Such as GET.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Such as https://app.example/path.")],
    *,
    client: Annotated[str | None, typer.Option("--from", metavar="ADDRESS", help="The client's address.")] = None,
    config: Config = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Show what would happen to a request."""
    from lockgate.cli import configuration, route_match

    settings = configuration.load_of_deployment(config, data)
    route_match.match_request(settings, method, url, client, as_json=as_json)


@users_app.command("show")
def users_show(user: User, *, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """Show an account."""
    from lockgate.cli import configuration, users

    users.show_user(configuration.load_of_deployment(config, data), user, as_json=as_json)


@users_app.command("block")
def users_block(user: User, *, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """Shut a user out at once, on every node. The next request is refused, and open sockets end."""
    from lockgate.cli import configuration, users

    users.block_user(configuration.load_of_deployment(config, data), user, as_json=as_json)


@users_app.command("unblock")
def users_unblock(user: User, *, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """Let a blocked user log in again."""
    from lockgate.cli import configuration, users

    users.unblock_user(configuration.load_of_deployment(config, data), user, as_json=as_json)


@users_app.command("grant")
def users_grant(user: User, role: Role, *, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """Give a user a role, such as admin. Tokens carry the role from the next login or refresh on."""
    from lockgate.cli import configuration, users

    users.grant_role(configuration.load_of_deployment(config, data), user, role, as_json=as_json)


@users_app.command("revoke-role")
def users_revoke_role(
    user: User, role: Role, *, config: Config = None, data: Data = DATA, as_json: AsJson = False
) -> None:
    """Take a role from a user, at once. Every session and token of the user ends; a new login has no such role."""
    from lockgate.cli import configuration, users

    users.revoke_role(configuration.load_of_deployment(config, data), user, role, as_json=as_json)


@sessions_app.command("list")
def sessions_list(user: User, *, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """List the live sessions of a user, the latest used first."""
    from lockgate.cli import configuration, sessions

    sessions.list_sessions(configuration.load_of_deployment(config, data), user, as_json=as_json)


@sessions_app.command("end")
def sessions_end(
    user: User,
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="All of them if left out.")] = None,
    *,
    config: Config = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """End one session, or all; its access tokens die at once."""
    from lockgate.cli import configuration, sessions

    sessions.end_sessions(configuration.load_of_deployment(config, data), user, session, as_json=as_json)


@tokens_app.command("inspect")
def tokens_inspect(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Or - for standard input.")],
    *,
    config: Config = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Show the claims of a token, and whether it is accepted. Exit code 1 where the gateway would refuse it."""
    from lockgate.cli import configuration, tokens

    tokens.inspect_token(configuration.load_of_deployment(config, data), token, as_json=as_json)


@clients_app.command("add")
def clients_add(
    client_id: Annotated[str, typer.Argument(metavar="CLIENT_ID")],
    *,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="It may ask for; may be repeated.")] = None,
    config: Config = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Register a client, and show its secret this once."""
    from lockgate.cli import clients, configuration

    clients.add_client(configuration.load_of_deployment(config, data), client_id, scope or [], as_json=as_json)


@clients_app.command("list")
def clients_list(*, config: Config = None, data: Data = DATA, as_json: AsJson = False) -> None:
    """List the clients; never a secret."""
    from lockgate.cli import clients, configuration

    clients.list_clients(configuration.load_of_deployment(config, data), as_json=as_json)


@clients_app.command("remove")
def clients_remove(
    client_id: Annotated[str, typer.Argument(metavar="CLIENT_ID")],
    *,
    config: Config = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Remove a client; its tokens die at once."""
    from lockgate.cli import clients, configuration

    clients.remove_client(configuration.load_of_deployment(config, data), client_id, as_json=as_json)


def run(arguments: Sequence[str] | None = None, node: Node | None = None) -> None:
    """The entry point. Each fault of the configuration is one line, and the exit code is 2.

    Args:
        arguments: of the command line; `None`: those of this process.
        node: what a worker of `lockgate serve` shares with others, where it was forked.
    """
    try:
        app(None if arguments is None else list(arguments), prog_name="lockgate", obj=node)
    except AlreadyReportedError:
        raise SystemExit(2) from None
    except ConfigurationError as error:
        for line in error.args:
            typer.echo(f"lockgate: {without_secrets(' '.join(str(line).split()))}", err=True)
        raise SystemExit(2) from None
    except StoreRefusedError as error:
        typer.echo(f"lockgate: Redis cannot be used: {error}", err=True)
        raise SystemExit(2) from None
    except StoreUnavailableError as error:
        typer.echo(f"lockgate: Redis cannot be reached, or did not do it ({error})", err=True)
        raise SystemExit(1) from None
    except AccountsUnavailableError as error:
        more = "" if error.reason is Reason.ACCOUNTS_AWAY else f": {error.reason.response.title}"
        typer.echo(f"lockgate: the users service cannot be reached, or did not do it ({error}){more}", err=True)
        raise SystemExit(1) from None
    except LockgateError as error:
        typer.echo(f"lockgate: {without_secrets(str(error))}", err=True)
        raise SystemExit(1) from None
