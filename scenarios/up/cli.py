"""``poplab up``: bring the world of a scenario up and keep it, for the telephone in your hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import click
import trio
from rich.console import Console

from edge.document import HostPort, address_text, did_you_mean
from edge.enrol import qr_code, qr_picture
from edge.errors import Refused
from scenarios import batch, report
from scenarios import world as worlds
from scenarios.fabric import FABRICS, Door, Fabric, Network, named
from scenarios.live import LiveScreen, Stdout, observer
from scenarios.report import RunRecord, State
from scenarios.runner import Observer, Staying
from scenarios.schema import Script
from scenarios.scratch import sweep
from scenarios.up import address, guests, keys
from scenarios.world import End, World

LISTEN = "0.0.0.0:51820"

SHELLS = 10
"""Machines to each of which a way is told."""

NAMED = 3
"""Of those from which one may send."""

PASSED, FAILED, INTERNAL = 0, 1, 4
"""Exit codes beside those of PoplabError."""


@click.command()
@click.argument("file", type=click.Path(readable=False, path_type=Path))
@click.option(
    "--fabric",
    metavar="loopback|netns",
    default=None,
    help="Where; loopback, or if the file does not run there netns.",
)
@click.option(
    "--listen",
    default=LISTEN,
    show_default=True,
    metavar="ADDRESS:PORT",
    help="UDP address of this machine where your devices come in.",
)
@click.option(
    "--endpoint",
    default="",
    metavar="HOST:PORT",
    help="What they dial; if left out, guessed from its routes.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps keys from one time to the next.",
)
@click.option("--steps", is_flag=True, help="Perform the steps and loads of the file, too.")
@click.option(
    "--qr",
    "drawn",
    metavar="NAME",
    help="Whose QR code is drawn on a terminal, or `none`; if left out, that of the first device.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=None, help="Instead of the seed in the file."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the reports.")
@click.pass_context
def up(
    context: click.Context,
    file: Path,
    fabric: str | None,
    listen: str,
    endpoint: str,
    state: Path | None,
    steps: bool,
    drawn: str | None,
    seed: int | None,
    out: Path | None,
) -> None:
    """Bring the world of FILE up and keep it until Ctrl-C, with a door for clients that are `outside`.

    Its applications and programs run and its telephones register, and what the steps do is yours. When FILE changes,
    its policy is in force at once.

    Exit codes: 0 stopped, 1 a law of the network was broken, 2 a bad file or wrong usage, or the port is taken, 3 the
    fabric is not available here, 4 an error of poplab itself.
    """
    (script, *others) = batch.select_file(file)
    if others:
        raise Refused(
            f"{file}: the matrix has several cells, and one world is kept up\n    fix: leave the matrix out"
        )
    where = _fabric(script, fabric)
    sweep()
    if out is not None:
        report.prepare(out)
    stdout = Stdout()
    console = Console(file=cast("IO[str]", stdout), highlight=False)
    outside = sorted(script.cast.outside, key=list(script.cast.tunnels).index)
    chosen = _drawn(drawn, outside)
    with ExitStack() as stack:
        folder = stack.enter_context(keys.folder(state))
        world = worlds.build(
            script, seed=seed, secret=os.urandom, identities=keys.identities(folder, outside), watched=True
        )
        door = dialled = None
        if outside:
            # Before anything else is done: on netns the machine's own network is out of reach later.
            door = Door(address.listening(listen))
            stack.callback(door.close)
            dialled = address.endpoint(endpoint, door.address)
        where.prepare()
        if door is not None and dialled is not None:
            for line in _invitation(world, folder, door, dialled, drawn=chosen if _draws(console) else ""):
                stdout.write(line + "\n")
        stdout.flush()

        def tell(network: Network) -> None:
            for line in _ways_in(network):
                stdout.write(line + "\n")
            stdout.flush()

        watcher = observer(console, report=str(out) if out is not None else "")
        try:
            record = where.execute(
                lambda: _stay(world, where, watcher, door, dialled, steps, out, tell), seed=world.seed
            )
        finally:
            if isinstance(watcher, LiveScreen):
                watcher.close()
    code = {State.PASSED: PASSED, State.ERROR: INTERNAL}.get(record.state, FAILED)
    if out is not None:
        try:
            report.write(out, [record], [script.scenario.outputs.report])
        except OSError as error:
            click.echo(f"cannot write all reports into {out}: {error.strerror or error}", err=True)
            code = code or INTERNAL
    stdout.flush()
    context.exit(code)


async def _stay(
    world: World,
    fabric: Fabric,
    watcher: Observer,
    door: Door | None,
    dialled: HostPort | None,
    steps: bool,
    out: Path | None,
    tell: Callable[[Network], None],
) -> RunRecord:
    async def perform(interrupt: trio.Event) -> RunRecord:
        staying = Staying(world, fabric, watcher, interrupt, door=door, steps=steps, tell=tell, folder=out)
        staying.record.door = "" if dialled is None else str(dialled)
        await staying.perform()
        return staying.record

    return await batch.until_interrupted(perform)


def _draws(console: Console) -> bool:
    """Whether a telephone can read what is drawn there."""
    return console.is_terminal and console.encoding.startswith("utf")


def _drawn(name: str | None, outside: Sequence[str]) -> str:
    """Whose code is drawn: one, for a screen holds no more. Refused if there is no such device."""
    if name is None:
        return outside[0] if outside else ""
    if name == "none":
        return ""
    if name not in outside:
        fix = did_you_mean(name, outside) if outside else "a client with `outside: true` in the file"
        raise Refused(f"--qr {name}: no device of that name joins from outside\n    fix: {fix}")
    return name


def _fabric(script: Script, name: str | None) -> Fabric:
    """Where it stays up. Refused with the reason if it cannot."""
    listed = script.scenario.fabrics
    if name is not None and name not in FABRICS and "," not in name:
        fix = did_you_mean(name, [each for each in FABRICS if not named(each).virtual])
        raise Refused(f"--fabric {name}: there is no fabric {name!r}\n    fix: {fix}")
    names = batch.fabrics(name) or tuple(each for each in listed if not named(each).virtual)[:1] or ("sim",)
    if len(names) > 1:
        raise Refused(f"--fabric {name}: one world is kept up\n    fix: --fabric {names[-1]}")
    chosen = named(names[0])
    if chosen.virtual:
        raise Refused(
            "sim is virtual time: an hour passes in a moment, and no device of yours could follow\n"
            "    fix: --fabric loopback, or netns"
        )
    if chosen.name not in listed:
        text = f"{script.file}: the file runs on {' and '.join(listed)}, not on {chosen.name}"
        raise Refused(f"{text}\n    fix: another --fabric, or add it to `fabric:` in the file")
    return chosen


def _invitation(world: World, folder: Path, door: Door, dialled: HostPort, *, drawn: str) -> Iterator[str]:
    """What the devices need, once; the code is the only place of a key that is not a file for its owner alone."""
    for end in world.outside:
        yield from _one(world, end, folder, dialled, drawn=end.name == drawn)
    port = door.address[1]
    if address.is_loopback(dialled[0]):
        yield (
            f"note: {dialled} is this machine's loopback, which nobody else reaches; for other devices:\n"
            f"      --endpoint HOST:{port} with an address of this machine that they reach"
        )
    else:
        yield f"note: your devices dial {dialled}; a firewall of this machine must let in UDP port {port}"
    yield ""


def _ways_in(network: Network) -> Iterator[str]:
    """How to run a command on a machine, for the first of them; nothing where no machine is real."""
    shells = network.shells
    for name, before in list(shells.items())[:SHELLS]:
        yield f"shell on {name}: {before}"
    if len(shells) > SHELLS:
        yield f"      and {len(shells) - SHELLS} more"
    if not shells:
        return
    # Of real hosts and of ours it is known what they send; of kernels of connectors, and of the PoP itself, it is not.
    talking = [name for name in shells if network.place(name) is not None]
    where = ", ".join(talking[:NAMED]) + (" and others" if len(talking) > NAMED else "")
    where = where or "a host with `exec` in the file"
    # Nobody can change to another user in a user namespace of one, and tcpdump insists on it.
    yield "note: ip and tshark, for root also tcpdump, look on any of them. ping, curl and the like go from"
    yield f"      {where}, where programs run, to hosts and clients: what else"
    yield "      is sent counts as forged, and breaks the law no-spoofing"
    yield ""


def _one(world: World, end: End, folder: Path, dialled: HostPort, *, drawn: bool) -> Iterator[str]:
    text = guests.config_text(world, end, str(dialled))
    path = keys.write(folder, f"{end.name}.conf", text)
    picture = keys.write(folder, f"{end.name}.svg", qr_picture(text))
    config = world.config.tunnels[end.name]
    yield f"{end.name}  {'  '.join(map(address_text, config.addresses))}"
    if drawn:
        yield "  scan this in the WireGuard app:"
        yield qr_code(text).rstrip("\n")
    yield f"  QR code for the WireGuard app: {picture}"
    yield f"  WireGuard file: {path}   on the device: wg-quick up ./{path.name}"
    for account in guests.accounts(world, end):
        yield f"  SIP at {account.pbx}: user {account.user}, password {account.password}, server {account.server}"
        if account.echo is not None:
            yield f"  call {account.echo}: it repeats what it hears"
