"""`poplab connector` and `poplab client`: the other end of a tunnel, on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from connectors.deployment import Mode
from connectors.profile import Profile, read
from connectors.proto.split_tunnel import Network
from connectors.systemd import unit
from connectors.tun import check_name
from edge.config import Kind
from edge.document import Prefix
from edge.errors import Refused


def _prefixes(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[Network, ...]:
    """Prefixes as everywhere else."""
    try:
        return tuple(ip_network((prefix.address, prefix.length)) for prefix in map(Prefix.parse, values))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """What both commands take."""
    for option in reversed(
        (
            click.argument("file", type=click.Path(readable=False, path_type=Path)),
            click.option(
                "--name", default="poplab0", show_default=True, help="What the interface is called."
            ),
            click.option(
                "--include",
                multiple=True,
                metavar="PREFIX",
                callback=_prefixes,
                help="Goes through the tunnel, and nothing else; may be repeated. 0.0.0.0/0 and ::/0 are all.",
            ),
            click.option(
                "--exclude",
                multiple=True,
                metavar="PREFIX",
                callback=_prefixes,
                help="Does not go through the tunnel; may be repeated.",
            ),
            click.option("--check", is_flag=True, help="Say what would be done, and change nothing."),
            click.option("--systemd", is_flag=True, help="Print a unit that runs this, and do nothing else."),
        )
    ):
        command = option(command)
    return command


@click.command()
@_options
def client(file: Path, **options: Any) -> None:
    """Join a virtual network as the device of FILE, which `poplab edge add-client` printed.

    Its address is on an interface of this machine, and the network's prefixes lead there. Ctrl-C takes all of it back.
    """
    _run(_profile(file, Kind.CLIENT), file, None, **options)


@click.command()
@_options
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.INTERMEDIATE_GATEWAY.value,
    show_default=True,
    help="Who sends to this machine what is for the virtual network; what that takes elsewhere is printed.",
)
@click.option("--enable-forwarding", is_flag=True, help="Have this machine forward packets, if it does not.")
@click.option(
    "--serves",
    multiple=True,
    metavar="PREFIX",
    callback=_prefixes,
    help="A prefix of the site, if FILE is a wg-quick file, which does not tell; may be repeated.",
)
def connector(
    file: Path, mode: str, enable_forwarding: bool, serves: tuple[Network, ...], **options: Any
) -> None:
    """Be the router between a site and its virtual network, with FILE from `poplab edge add-connector`.

    Source addresses stay what they are, both ways.
    """
    profile = _profile(file, Kind.CONNECTOR)
    if serves:
        profile = replace(profile, serves=serves)
    if not profile.serves:
        raise Refused(
            f"{file}: a wg-quick file does not tell which prefixes the site has\n"
            "    fix: --serves PREFIX, the `--route` that it was enrolled with; or enrol it with --for poplab"
        )
    _run(profile, file, Mode(mode), enable_forwarding=enable_forwarding, **options)


def _profile(file: Path, kind: Kind) -> Profile:
    profile = read(file)
    if profile.kind not in (None, kind):
        raise Refused(
            f"{file} is of a {profile.kind}\n    fix: poplab {profile.kind} {shlex.quote(str(file))}"
        )
    return profile


def _run(
    profile: Profile,
    file: Path,
    mode: Mode | None,
    *,
    name: str,
    include: tuple[Network, ...],
    exclude: tuple[Network, ...],
    check: bool,
    systemd: bool,
    enable_forwarding: bool = False,
) -> None:
    check_name(name)
    if systemd:
        click.echo(_unit(profile, file, mode, name, include, exclude), nl=False)
        return
    from connectors.daemon import Daemon, Options  # tunnels and netlink are for those who run them

    daemon = Daemon(profile, Options(name, include or None, exclude, mode, enable_forwarding))
    if file.stat().st_mode & 0o077 and not _is_credential(file):
        click.echo(f"note: others can read {file}, which has the secret: chmod 600", err=True)
    if check:
        for line in daemon.check():
            click.echo(line)
        click.echo(f"{file}: good: nothing was changed", err=True)
        return
    daemon.run()


def _is_credential(file: Path) -> bool:
    """systemd lets the user of a service read its credentials by an access list, which looks like a group's right."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(directory) and file.absolute().is_relative_to(directory)


def _unit(
    profile: Profile,
    file: Path,
    mode: Mode | None,
    name: str,
    include: tuple[Network, ...],
    exclude: tuple[Network, ...],
) -> str:
    words = ["--name", name]
    if mode is not None:
        words += ["--mode", mode.value]
        if profile.kind is None:
            words += [word for prefix in profile.serves for word in ("--serves", str(prefix))]
    words += [word for prefix in include for word in ("--include", str(prefix))]
    words += [word for prefix in exclude for word in ("--exclude", str(prefix))]
    return unit(
        role="client" if mode is None else "connector",
        name=profile.name,
        file=file.absolute(),
        command=[found] if (found := shutil.which(sys.argv[0])) else [sys.executable, "-m", "scenarios"],
        options=words,
        connector=mode is not None,
    )
