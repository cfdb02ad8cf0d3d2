"""`poplab edge`: run a PoP, check its configuration, enrol its peers."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import click
from click.core import ParameterSource

from edge import enrol
from edge.config import CONFIG_NAME, EdgeConfig, TunnelKind, counted, leaf, load
from edge.document import did_you_mean
from edge.errors import PoplabError, Refused
from edge.state import holder

DEFAULT_CONFIG = Path(CONFIG_NAME)

config_option = click.option(
    "--config",
    type=click.Path(readable=False, path_type=Path),
    default=None,
    help=f"The PoP's configuration; {DEFAULT_CONFIG} in this folder if left out.",
)


OFF = "off"
EXPIRY_NOTICE = timedelta(days=30)

INTERRUPTED = 130  # what shells expect after Ctrl-C


class ErrorsInWords(click.Group):
    """An error meant for people goes to stderr in full, without a traceback, and sets the exit code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except PoplabError as error:
            click.echo(str(error), err=True)
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            context.exit(INTERRUPTED)


class Verb(click.Command):
    """A file among the arguments was meant for `--config`; click would only call it unexpected."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.allow_extra_args = True
        super().parse_args(context, args)
        if context.args and not context.resilient_parsing:
            word = context.args[0]
            if _is_file(word):
                raise click.UsageError(f"{word!r} is not expected here; {_as_config(context, word)}", context)
            raise click.UsageError(f"Got unexpected extra argument ({word})", context)
        return []


class EdgeGroup(ErrorsInWords):
    """The same for `poplab edge FILE`, and for a verb that is misspelt."""

    command_class = Verb

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in self.commands and not word.startswith("-"):
            if _is_file(word):
                fix = _as_config(context, word)
            else:
                fix = did_you_mean(word, self.commands)
            raise click.UsageError(f"No such command {word!r}; {fix}", context)
        return super().resolve_command(context, args)


def _as_config(context: click.Context, word: str) -> str:
    path = Path(word) / CONFIG_NAME if Path(word).is_dir() else Path(word)
    return f"did you mean `{context.command_path} --config {_quote(path)}`?"


def _is_file(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) or os.path.exists(word)


@click.group(
    cls=EdgeGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@config_option
@click.pass_context
def edge(context: click.Context, config: Path | None) -> None:
    """Run a PoP, or prepare one.

    Without a command it runs the PoP in the foreground: `reload` has it read its configuration again, Ctrl-C
    drains and stops.
    """
    context.obj = config
    if context.invoked_subcommand is None:
        from edge.server.process import serve  # the server's imports are for those who serve

        serve(_config(context, None))


@edge.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", default="", help="What the PoP is called; the folder's name if left out.")
@click.option("--listen", default="127.0.0.1:51820", show_default=True, help="UDP address for tunnels.")
@click.option(
    "--listen-masque",
    default="",
    metavar="ADDRESS|off",
    help="UDP and TCP address for MASQUE tunnels; the address of --listen and port 4433 if left out.",
)
@click.option("--vnet", default="lab", show_default=True, help="The first virtual network.")
def init(folder: Path, name: str, listen: str, listen_masque: str, vnet: str) -> None:
    """Make FOLDER with keys, a certificate and a commented edge.yaml. Overwrites nothing."""
    masque = None if listen_masque == OFF else listen_masque
    path = enrol.init(folder, name=name, listen=listen, masque=masque, vnet=vnet)
    click.echo(str(path))
    _hint(f"next: poplab edge --config {_quote(path)} add-client NAME")
    _hint(f"then: poplab edge --config {_quote(path)}")


@edge.command("init-masque")
@config_option
@click.option("--host", "hosts", multiple=True, help="A name or address that clients dial; may be repeated.")
@click.pass_context
def init_masque(context: click.Context, config: Path | None, hosts: tuple[str, ...]) -> None:
    """Make an authority and a certificate for a PoP that takes no MASQUE tunnels yet. Overwrites nothing."""
    path = _config(context, config)
    made = enrol.init_masque(path, hosts=hosts)
    for file in made.files:
        click.echo(str(file))
    if made.listen:
        how = "replace `masque: null` by" if made.off else "add"
        _hint(f'next: {how} `masque: "{made.listen}"` under `listen` in {path}, and restart the PoP')
    else:
        _hint(f"next: poplab edge --config {_quote(path)} add-client NAME --tunnel masque")


@edge.command()
@config_option
@click.option(
    "--host", "hosts", multiple=True, help="One more name or address that clients dial; may be repeated."
)
@click.option("--new-key", is_flag=True, help="Replace the key, too: who pins it must be enrolled anew.")
@click.pass_context
def renew(context: click.Context, config: Path | None, hosts: tuple[str, ...], new_key: bool) -> None:
    """Make a new certificate for the key that there is: clients that pin it, or trust ca.crt, notice nothing."""
    path = _config(context, config)
    renewed = enrol.renew(path, hosts=hosts, new=new_key)
    click.echo(
        f"{renewed.file}: until {renewed.certificate.not_valid_after_utc:%Y-%m-%d}: {', '.join(renewed.hosts)}"
    )
    if renewed.outdated:
        _hint(
            f"note: to be enrolled anew, because they pin the key from before: {', '.join(renewed.outdated)}"
        )
    _next(path, renewed.state)


def _choice(words: Iterable[StrEnum]) -> click.Choice[str]:
    return click.Choice([word.value for word in words])


class _TunnelChoice(click.Choice[str]):
    """Of the kinds that one command can enrol; `auto`, which it cannot, passes: its refusal says more."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value if value == TunnelKind.AUTO else super().convert(value, param, ctx)


def enrol_options(command: Any) -> Any:
    """What both kinds of peers take."""
    for option in reversed(
        (
            click.argument("name"),
            config_option,
            click.option("--vnet", default="", help="Virtual network; not needed if there is only one."),
            click.option("--endpoint", default="", help="HOST:PORT that the peer dials."),
            click.option(
                "--tunnel",
                type=_TunnelChoice([TunnelKind.WIREGUARD.value, TunnelKind.MASQUE.value]),
                default=TunnelKind.WIREGUARD.value,
                show_default=True,
                help="What the peer speaks; the rest depends on it.",
            ),
            click.option(
                "--psk/--no-psk", default=True, show_default=True, help="wireguard: a preshared key, too."
            ),
            click.option(
                "--keepalive", default=25, show_default=True, help="wireguard: seconds; 0 for none."
            ),
            click.option("--qr", is_flag=True, help="wireguard: show a QR code for the app."),
            click.option(
                "--for",
                "program",
                type=_choice(enrol.Program),
                help="The program that the text is for; wireguard: poplab, or every other if left out.  "
                "[masque: poplab, with --dialect warp usque]",
            ),
            click.option(
                "--dialect",
                type=_choice(enrol.Dialect),
                help="masque: how it asks for a tunnel.  [default: what the program speaks]",
            ),
            click.option(
                "--client-key",
                default="",
                metavar="BASE64",
                help="masque: the public key (SubjectPublicKeyInfo) of a device that made its own.",
            ),
            click.option(
                "--out",
                type=click.Path(dir_okay=False, path_type=Path),
                help="Write to a new file, mode 0600.",
            ),
        )
    ):
        command = option(command)
    return command


OF_WIREGUARD = {"psk": "--psk", "keepalive": "--keepalive", "qr": "--qr"}
OF_MASQUE = {"dialect": "--dialect", "client_key": "--client-key"}


def _peer_options(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """`options` for the kind of tunnel that they name; Refused if one is of the other kind."""
    kind = options.pop("tunnel")
    if kind == TunnelKind.AUTO:
        raise Refused(
            "a peer of `tunnel: auto` has credentials of both kinds, and this makes those of one\n"
            "    fix: --tunnel masque, then write `tunnel: auto` and a `public_key` into its file: see "
            '"By both" in docs/edge.md'
        )
    masque = kind == TunnelKind.MASQUE
    for option, name in (OF_WIREGUARD if masque else OF_MASQUE).items():
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            fix = "leave it out" if masque else "--tunnel masque"
            raise Refused(f"{name} is of {'WireGuard' if masque else 'MASQUE'} tunnels\n    fix: {fix}")
    dialect, program = options.pop("dialect"), options.pop("program")
    if not masque and program not in (None, enrol.Program.POPLAB):
        raise Refused(f"--for {program} is of MASQUE tunnels\n    fix: --tunnel masque")
    if program == enrol.Program.POPLAB and context.params["qr"]:
        raise Refused(
            "--qr shows what WireGuard apps read, which --for poplab is not\n    fix: one of the two"
        )
    wanted = enrol.Masque(
        dialect and enrol.Dialect(dialect), program and enrol.Program(program), options.pop("client_key")
    )
    return {**options, "masque": wanted if masque else None, "for_poplab": program == enrol.Program.POPLAB}


@edge.command("add-client")
@enrol_options
@click.option("--user", default="", help="Who it belongs to; NAME if left out.")
@click.option("--group", "groups", multiple=True, help="For policy; may be repeated.")
@click.option("--tag", "tags", multiple=True, help="For policy; may be repeated.")
@click.pass_context
def add_client(
    context: click.Context,
    /,
    name: str,
    config: Path | None,
    qr: bool,
    out: Path | None,
    **options: Any,
) -> None:
    """Enrol a device called NAME and print what it needs: a wg-quick file, or one for a program that speaks MASQUE."""
    path, options = _config(context, config), _peer_options(context, options)
    with _reserved(out) as deliver:
        _explain(path, enrol.add_client(path, name, deliver=deliver, **options), qr, out)


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
    qr: bool,
    out: Path | None,
    **options: Any,
) -> None:
    """Enrol the router of a site called NAME, or a replica of one, and print what it needs, such as a wg-quick file.

    A route of 0.0.0.0/0 makes it the default route of the network, and peers enrolled from then on full tunnels.
    """
    path, options = _config(context, config), _peer_options(context, options)
    with _reserved(out) as deliver:
        _explain(path, enrol.add_connector(path, name, deliver=deliver, **options), qr, out)


@edge.command()
@config_option
@click.pass_context
def check(context: click.Context, config: Path | None) -> None:
    """Read the configuration and name everything that is wrong with it."""
    path = _config(context, config)
    loaded = load(path)
    routes = sum(len(tunnel.routes) for tunnel in loaded.tunnels.values())
    parts = [
        counted(len(loaded.vnets), "vnet"),
        counted(len(loaded.tunnels), "tunnel"),
        counted(routes, "route"),
    ]
    click.echo(f"{path}: good: {', '.join(parts)}")
    for note in _notes(path, loaded):
        _hint(f"note: {note}")


def _notes(path: Path, config: EdgeConfig) -> Iterator[str]:
    """What is no mistake, and yet should be known."""
    if config.masque is None:
        return
    if config.masque.keylog is not None:
        yield f"TLS secrets are recorded in {config.masque.keylog}: whoever can read it, can read the tunnels"
    if (certificate := leaf(config.masque.certificate)) is None:
        return
    if certificate.not_valid_after_utc - datetime.now(UTC) < EXPIRY_NOTICE:
        end = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        yield f"the certificate ends on {end}: poplab edge --config {_quote(path)} renew"
    try:
        enrol.authority_of(path.parent, config.name, certificate)
    except Refused as error:
        yield str(error)


@edge.command()
@config_option
@click.pass_context
def reload(context: click.Context, config: Path | None) -> None:
    """Have the running PoP read its configuration again, and say what came of it.

    Exit codes: 0 it is in force, 1 the PoP refused it and goes on as before, 2 there is no such PoP or the file
    cannot be read.
    """
    from edge.server import control

    path = _config(context, config)
    process, text = control.reload(path)
    click.echo(f"{path}: in force: {text} (process {process})")


def _config(context: click.Context, given: Path | None) -> Path:
    """`--config` may stand before or after the command."""
    outer: Path | None = context.find_object(type(DEFAULT_CONFIG))
    return given or outer or DEFAULT_CONFIG


@contextmanager
def _reserved(out: Path | None) -> Iterator[enrol.Deliver]:
    """Where the peer's text goes: a new, private `out`, or stdout, on which is nothing else so that it can be piped.

    It is written before anything is enrolled: a key that cannot be written must not be made.
    """
    if out is None:
        yield _print
        return
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(f"{out}: {error.strerror}\n    fix: choose another name") from error
    with os.fdopen(descriptor, "w") as stream:
        try:
            yield lambda text: _write(text, stream, str(out))
        except BaseException:
            out.unlink(missing_ok=True)
            raise


def _print(text: str) -> None:
    _write(text, sys.stdout, "stdout")


def _write(text: str, stream: TextIO | None, name: str) -> None:
    try:
        if stream is None:  # started with stdout closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        stream.write(text)
        stream.flush()
    except OSError as error:
        if stream is not None and stream is sys.stdout:  # Python would try again on its way out, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise Refused(
            f"{name}: {error.strerror}: nobody got what the peer needs, so nothing was enrolled\n    fix: --out FILE"
        ) from error


def _explain(config: Path, enrolled: enrol.Enrolled, qr: bool, out: Path | None) -> None:
    """Everything beside the peer's text, on stderr."""
    if qr:
        screen = sys.stdout if sys.stdout.isatty() else sys.stderr
        screen.write(enrol.qr_code(enrolled.text))
    where = "the text above" if out is None else out
    if enrolled.secret:
        what = f"{where} is the only place of the {enrolled.secret}: it is not shown again"
    else:
        what = f"{where} is for the device, which has its key"
    _hint(f"added {enrolled.file}; {what}")
    for line in enrolled.usage:
        _hint(f"use: {line.replace('FILE', _quote(out)) if out else line}")
    for advice in enrolled.advice:
        _hint(f"note: {advice}")
    _next(config, enrolled.state)


def _next(config: Path, state: Path | None) -> None:
    """How the PoP gets to know what has changed."""
    command = f"poplab edge --config {_quote(config)}"
    process = None
    if state is not None:
        with suppress(Refused):  # another user's lock: what has changed has changed all the same
            process = holder(state)
    if process is not None:
        _hint(f"next: {command} reload   loads it into the running PoP (process {process})")
    elif state is not None:
        _hint(f"next: {command}   starts the PoP")
    else:
        _hint(f"next: {command}   starts the PoP; one that runs loads it on kill -HUP")


def _hint(text: str) -> None:
    click.echo(text, err=True)


def _quote(path: Path) -> str:
    return shlex.quote(str(path))
