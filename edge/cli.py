"""`poplab edge`: run a PoP, check its configuration, enrol its peers."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click
import segno

from edge import enrol
from edge.config import load
from edge.errors import PoplabError, Refused
from edge.state import holder

DEFAULT_CONFIG = Path(enrol.CONFIG_NAME)

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=None,
    help=f"The PoP's configuration; {DEFAULT_CONFIG} in this folder if left out.",
)


class ErrorsInWords(click.Group):
    """An error meant for people goes to stderr in full, without a traceback, and sets the exit code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except PoplabError as error:
            click.echo(str(error), err=True)
            context.exit(error.exit_code)


@click.group(cls=ErrorsInWords, invoke_without_command=True)
@config_option
@click.pass_context
def edge(context: click.Context, config: Path | None) -> None:
    """Run a PoP, or prepare one.

    Without a command it runs the PoP in the foreground: SIGHUP reloads the configuration, Ctrl-C drains
    and stops.
    """
    context.obj = config
    if context.invoked_subcommand is None:
        from edge.server.process import serve  # the server's imports are for those who serve

        serve(_config(context, None))


@edge.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", default="", help="What the PoP is called; the folder's name if left out.")
@click.option("--listen", default="127.0.0.1:51820", show_default=True, help="UDP address for tunnels.")
@click.option("--vnet", default="lab", show_default=True, help="The first virtual network.")
def init(folder: Path, name: str, listen: str, vnet: str) -> None:
    """Make FOLDER with a key and a commented edge.yaml. Overwrites nothing."""
    path = enrol.init(folder, name=name, listen=listen, vnet=vnet)
    click.echo(str(path))
    _hint(f"next: poplab edge --config {_quote(path)} add-client NAME")
    _hint(f"then: poplab edge --config {_quote(path)}")


def enrol_options(command: Any) -> Any:
    """What both kinds of peers take."""
    for option in reversed(
        (
            click.argument("name"),
            config_option,
            click.option("--vnet", default="", help="Virtual network; not needed if there is only one."),
            click.option("--endpoint", default="", help="HOST:PORT that the peer dials."),
            click.option("--psk/--no-psk", default=True, show_default=True, help="A preshared key, too."),
            click.option("--keepalive", default=25, show_default=True, help="Seconds; 0 for none."),
            click.option("--qr", is_flag=True, help="Show a QR code for the WireGuard app."),
            click.option(
                "--out",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Write to a new file, mode 0600.",
            ),
        )
    ):
        command = option(command)
    return command


@edge.command("add-client")
@enrol_options
@click.option("--user", default="", help="Who it belongs to; NAME if left out.")
@click.option("--tag", "tags", multiple=True, help="For policy; may be repeated.")
@click.pass_context
def add_client(
    context: click.Context,
    /,
    name: str,
    config: Path | None,
    user: str,
    tags: tuple[str, ...],
    qr: bool,
    out: Path | None,
    **options: Any,
) -> None:
    """Enrol a device called NAME and print its wg-quick file."""
    path = _config(context, config)
    with _reserved(out) as stream:
        _deliver(path, enrol.add_client(path, name, user=user, tags=tags, **options), qr, stream, out)


@edge.command("add-connector")
@enrol_options
@click.option("--route", "routes", multiple=True, help="A prefix of the site; may be repeated.")
@click.option("--replica-of", default="", metavar="SITE", help="One more connector of SITE, for its routes.")
@click.pass_context
def add_connector(
    context: click.Context,
    /,
    name: str,
    config: Path | None,
    routes: tuple[str, ...],
    replica_of: str,
    qr: bool,
    out: Path | None,
    **options: Any,
) -> None:
    """Enrol the router of a site called NAME, or a replica of one, and print its wg-quick file."""
    path = _config(context, config)
    with _reserved(out) as stream:
        enrolled = enrol.add_connector(path, name, routes=routes, replica_of=replica_of, **options)
        _deliver(path, enrolled, qr, stream, out)


@edge.command()
@config_option
@click.pass_context
def check(context: click.Context, config: Path | None) -> None:
    """Read the configuration and name everything that is wrong with it."""
    path = _config(context, config)
    loaded = load(path)
    routes = sum(len(tunnel.routes) for tunnel in loaded.tunnels.values())
    click.echo(f"{path}: good: {len(loaded.vnets)} vnets, {len(loaded.tunnels)} tunnels, {routes} routes")


def _config(context: click.Context, given: Path | None) -> Path:
    """`--config` may stand before or after the command."""
    outer: Path | None = context.find_object(type(DEFAULT_CONFIG))
    return given or outer or DEFAULT_CONFIG


@contextmanager
def _reserved(out: Path | None) -> Iterator[TextIO | None]:
    """`out`, new and private, before anything is enrolled: a key that cannot be written must not be made."""
    if out is None:
        yield None
        return
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(f"{out}: {error.strerror}\n    fix: choose another name") from error
    with os.fdopen(descriptor, "w") as stream:
        try:
            yield stream
        except BaseException:
            out.unlink(missing_ok=True)
            raise


def _deliver(
    config: Path, enrolled: enrol.Enrolled, qr: bool, stream: TextIO | None, out: Path | None
) -> None:
    """Only the wg-quick text on stdout, so that it can be piped; everything else on stderr."""
    if stream is None:
        click.echo(enrolled.wg_quick, nl=False)
    else:
        stream.write(enrolled.wg_quick)
    if qr:
        screen = sys.stdout if sys.stdout.isatty() else sys.stderr
        segno.make(enrolled.wg_quick, error="l", micro=False).terminal(out=screen, compact=True)
    where = "the text above" if out is None else out
    _hint(f"added {enrolled.file}; {where} is the only place of the private key: it is not shown again")
    if enrolled.state is not None and (process := holder(enrolled.state)):
        _hint(f"next: kill -HUP {process}   loads it into the running PoP")
    else:
        _hint(f"next: poplab edge --config {_quote(config)}   or kill -HUP its process, if it runs")


def _hint(text: str) -> None:
    click.echo(text, err=True)


def _quote(path: Path) -> str:
    return shlex.quote(str(path))
