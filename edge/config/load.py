"""edge.yaml and tunnels.d/*.yaml -> EdgeConfig, or every mistake in all of them at once.

Reading finds what is wrong with the form of the files, judging what is wrong with what they say. Between the two,
enrolment adds a tunnel: what is missing without it must not keep it out.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from os import listdir
from os.path import lexists
from pathlib import Path as FilePath
from typing import TypeVar

from msgspec import UNSET, UnsetType

from edge.config.certificates import MAKER, check_match, check_validity, read_certificates, read_private_key
from edge.config.checks import check
from edge.config.file import EdgeFile, MasqueFile, ProbeFile, TunnelFile, VnetFile
from edge.config.finding import Finding
from edge.config.hooks import BadHook, find_hook
from edge.config.keys import BadFile, looks_like_key, read_key
from edge.config.masque import DEFAULT_MASQUE_PORT
from edge.config.rules import rule
from edge.config.types import EdgeConfig, Kind, MasqueConfig, TunnelConfig, VnetConfig
from edge.document import Document, HostPort, Path
from edge.errors import ConfigError, Problem
from edge.proto.forwarding.policy import Action
from edge.proto.forwarding.replica import ProbeSettings

T = TypeVar("T")

CONFIG_NAME = "edge.yaml"
TUNNELS_FOLDER = "tunnels.d"
SCENARIO_KEYS = frozenset({"topology", "steps", "fabric"})  # what every scenario has, and no PoP
NO_KEY = bytes(32)  # stands in while other mistakes are collected; never leaves this module


def load(path: FilePath) -> EdgeConfig:
    """The configuration in `path` and in tunnels.d beside it; ConfigError with everything that is wrong."""
    reading = Reading(path)
    if problems := reading.judge():
        raise ConfigError(problems)
    return reading.config


def not_there(path: FilePath) -> Problem | None:
    """What to say if `path` is no file: where there is one that may be meant, or how to make one."""
    if path.is_dir():
        message, near = "a folder, not a file", [path / CONFIG_NAME]
    elif not path.exists():
        folder = path.parent
        message, near = "No such file", [folder / CONFIG_NAME, *sorted(folder.glob(f"*/{CONFIG_NAME}"))]
    else:
        return None
    found = [str(file) for file in near if file.is_file()][:3]
    fix = "`poplab edge init DIR` makes a new PoP; --config FILE names one that there is"
    if found:
        fix = f"did you mean {' or '.join(found)}?"
    return Problem(str(path), 0, 0, message, fix)


def _is_scenario(document: Document) -> Problem | None:
    """One line instead of one for each key that a PoP does not have."""
    keys = set(document.data) if isinstance(document.data, dict) else set()
    if "private_key_file" in keys or not keys & SCENARIO_KEYS:
        return None
    file = shlex.quote(document.file)
    return Problem(
        document.file,
        0,
        0,
        "a scenario, not the configuration of a PoP",
        f"`poplab check {file}`, `poplab run {file}`",
    )


class Reading:
    """The documents of a configuration, and what they say; ConfigError if they are too wrong to say anything."""

    def __init__(self, path: FilePath) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.main: Document | None = None
        self.own: dict[str, Document] = {}  # tunnels with a file of their own
        self.certificate_files: tuple[FilePath, FilePath] | None = (
            None  # (certificate, key), where MASQUE is on
        )
        self.unread: set[str] = set()  # tunnels whose own file has mistakes
        self.config = self._read()

    @property
    def masque_off(self) -> bool:
        """Whether `listen` says that there are to be no MASQUE tunnels, rather than nothing of them."""
        return self.main is not None and self.main.data["listen"].get("masque", UNSET) is None

    def judge(self, added: TunnelConfig | None = None) -> list[Problem]:
        """Everything that is wrong with the files, and with what they say if the tunnel `added` were in them, too."""
        config = self.config
        if added is not None:
            config = replace(config, tunnels={**config.tunnels, added.name: added})
        command = f"poplab edge --config {shlex.quote(str(self.path))}"
        findings = check(config, command=command, unread=self.unread)
        found = [self._judged(finding, "" if added is None else added.name) for finding in findings]
        return sorted([*self.problems, *found], key=self._order)

    def _judged(self, finding: Finding, added: str) -> Problem:
        """The finding at its place; if its other half is in another file, that is told, too."""
        message, path, other = finding.message, finding.path, finding.other
        if added and path[:2] == ("tunnels", added):
            return Problem(f"tunnel {added!r}", 0, 0, message, finding.fix)
        if other and other[:2] != ("tunnels", added):
            document, inner = self._document(other)
            if document is not self._document(path)[0]:
                line, column = document.position(inner)
                message += f" (the other is {document.file}:{line}:{column})"
        return self._placed(path, message, finding.fix)

    def _read(self) -> EdgeConfig:
        edge = self._read_main()
        files = dict(edge.tunnels) if edge else {}
        for name, file in self._read_tunnels().items():
            if name in files:
                self.problem(
                    ("tunnels", name), f"tunnel {name!r} is also in {self.path}", "delete one of the two"
                )
            files[name] = file
        if edge is None:
            raise ConfigError(sorted(self.problems, key=self._order))
        return EdgeConfig(
            name=edge.name,
            listen=edge.listen.wireguard.address,
            private_key=self._key(("private_key_file",), edge.private_key_file) or NO_KEY,
            vnets={name: self._vnet(name, vnet) for name, vnet in edge.vnets.items()},
            tunnels={name: self._tunnel(name, tunnel) for name, tunnel in files.items()},
            metrics=edge.listen.metrics.address if edge.listen.metrics else None,
            state=self._state(edge.state) if edge.state is not UNSET else None,
            endpoint=str(edge.endpoint) if edge.endpoint else "",
            probe=_probe(edge.probe),
            masque=self._masque(edge.listen.masque, edge.masque),
        )

    def _order(self, problem: Problem) -> tuple[bool, str, int, int]:
        """The main file first, then by place."""
        return problem.file != str(self.path), problem.file, problem.line, problem.column

    def problem(self, path: Path, message: str, fix: str) -> None:
        """Place a mistake in the file that holds `path`."""
        self.problems.append(self._placed(path, message, fix))

    def _placed(self, path: Path, message: str, fix: str) -> Problem:
        document, inner = self._document(path)
        return document.problem(inner, message, fix)

    def _document(self, path: Path) -> tuple[Document, Path]:
        """The file that holds `path`, and where in it."""
        if len(path) > 1 and path[0] == "tunnels" and path[1] in self.own:
            return self.own[str(path[1])], path[2:]
        assert self.main is not None
        return self.main, path

    def _read_main(self) -> EdgeFile | None:
        try:
            if absent := not_there(self.path):
                raise ConfigError([absent])
            self.main = Document.read(self.path)
            if scenario := _is_scenario(self.main):
                raise ConfigError([scenario])
            return self.main.decode(EdgeFile)
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _read_tunnels(self) -> dict[str, TunnelFile]:
        found = {}
        for path in self._tunnel_files():
            try:
                document = Document.read(path)
                found[path.stem] = document.decode(TunnelFile)
                self.own[path.stem] = document
            except ConfigError as error:
                self.unread.add(path.stem)
                self.problems += error.problems
        return found

    def _tunnel_files(self) -> list[FilePath]:
        folder = self.path.parent / TUNNELS_FOLDER
        try:
            names = listdir(folder)
        except FileNotFoundError:
            return []
        except OSError as error:  # read as an empty folder, a reload would cut every tunnel off
            fix = f"a folder that this user can read:  chmod 700 {folder}"
            self.problems.append(Problem(str(folder), 0, 0, error.strerror or str(error), fix))
            return []
        return sorted(folder / name for name in names if name.endswith(".yaml") and not name.startswith("."))

    def _key(self, path: Path, name: str) -> bytes | None:
        return self._named(path, name, read_key)

    def _named(self, path: Path, name: str, read: Callable[[FilePath], T]) -> T | None:
        """What `read` finds in the file `name`, which `path` names; None, and a problem, if it is not fit to use."""
        folder = self.path.parent
        if len(path) > 1 and path[1] in self.own:
            folder /= TUNNELS_FOLDER
        if looks_like_key(name) and not lexists(folder / name):  # not repeated: it may be a secret
            self.problem(
                path,
                "this looks like a key, not the name of a file",
                "put the key into a file, chmod 600, and name that",
            )
            return None
        try:
            return read(folder / name)
        except BadFile as error:
            self.problem(path, error.message, error.fix)
            return None

    def _state(self, name: str) -> FilePath | None:
        return self._new_file(("state",), name, "state.db")

    def _new_file(self, path: Path, name: str, such_as: str) -> FilePath | None:
        """Where a file is or will be made; None, and a problem, if there can be none of that name."""
        if not name or "\0" in name:
            self.problem(path, f"{name!r} is not the name of a file", f"name one, such as {such_as}")
            return None
        return self.path.parent / name

    def _masque(
        self, listen: HostPort | UnsetType | None, section: MasqueFile | UnsetType
    ) -> MasqueConfig | None:
        if listen is UNSET and section is not UNSET:
            self.problem(
                ("masque",),
                "settings for a listener that is not there",
                f'add `masque: "127.0.0.1:{DEFAULT_MASQUE_PORT}"` to `listen`; null there means that it is off',
            )
        if listen is UNSET or listen is None:
            return None
        file = MasqueFile() if section is UNSET else section
        folder = self.path.parent
        self.certificate_files = folder / file.certificate_file, folder / file.key_file
        certificate, key = self._certificate(file)
        retry_key, keylog = None, None
        if file.retry_key_file is not UNSET:
            path: Path = ("masque", "retry_key_file")
            retry_key = self._named(path, file.retry_key_file, _read_retry_key)
        if file.keylog_file is not UNSET:
            keylog = self._new_file(("masque", "keylog_file"), file.keylog_file, "keys.log")
        return MasqueConfig(
            listen=listen.address,
            certificate=certificate,
            private_key=key,
            path=file.path,
            http2=file.http2,
            retry=file.retry,
            retry_key=retry_key or b"",
            warp_names=file.warp_names,
            max_connections=file.max_connections,
            idle_timeout=float(file.idle_timeout),
            handshake_rate=file.handshake_rate,
            source_rate=file.source_rate,
            keylog=keylog,
            endpoint="" if file.endpoint is UNSET else str(file.endpoint),
        )

    def _certificate(self, file: MasqueFile) -> tuple[bytes, bytes]:
        """(certificates, key) in PEM; empty while other mistakes are collected."""
        path: Path = ("masque", "certificate_file")
        folder = self.path.parent
        renew = f"poplab edge --config {shlex.quote(str(self.path))} renew"
        # Of two files of which one is there, the other is lost: what makes both would overwrite nothing.
        by_key = f"`{renew}`" if lexists(folder / file.key_file) else MAKER
        anew = f"`{renew} --new-key`" if lexists(folder / file.certificate_file) else MAKER
        shown = self._named(path, file.certificate_file, lambda at: read_certificates(at, by_key))
        key = self._named(("masque", "key_file"), file.key_file, lambda at: read_private_key(at, anew))
        if shown is None:
            return b"", b""
        try:
            if key is not None:
                check_match(shown[1], key[1])
            check_validity(shown[1][0], datetime.now(UTC), f"`{renew}` makes one for the same key")
        except BadFile as error:
            self.problem(path, error.message, error.fix)
        return shown[0], b"" if key is None else key[0]

    def _vnet(self, name: str, file: VnetFile) -> VnetConfig:
        path: Path = ("vnets", name)
        hooks = []
        for index, hook in enumerate(file.hooks):
            try:
                hooks.append(find_hook(hook))
            except BadHook as error:
                self.problem((*path, "hooks", index), error.message, error.fix)
        for index, text in enumerate(file.policy):
            if other := sorted(text.vnets - {name}):
                message = f"rule {text.id!r} is for vnet {other[0]!r}, but this is the policy of {name!r}"
                self.problem(
                    (*path, "policy", index), message, "delete `vnet:`, or move the rule to that vnet"
                )
        return VnetConfig(
            name=name,
            pool=file.pool,
            pool6=file.pool6 or None,
            mtu=file.mtu,
            default=Action(file.default),
            policy=tuple(rule(text) for text in file.policy),
            hooks=tuple(hooks),
            hook_budget=float(file.hook_budget),
            nested_routes=file.nested_routes,
        )

    def _tunnel(self, name: str, file: TunnelFile) -> TunnelConfig:
        preshared_key = None
        if file.preshared_key_file is not UNSET:
            preshared_key = self._key(("tunnels", name, "preshared_key_file"), file.preshared_key_file)
        return TunnelConfig(
            name=name,
            vnet=file.vnet,
            kind=file.kind,
            public_key=b"" if file.public_key is UNSET else bytes(file.public_key),
            preshared_key=preshared_key,
            tunnel=file.tunnel,
            token_sha256=b"" if file.token_sha256 is UNSET else bytes(file.token_sha256),
            client_key=b"" if file.client_key is UNSET else bytes(file.client_key),
            addresses=tuple(map(bytes, file.addresses)),
            routes=file.routes,
            site=(name if file.kind is Kind.CONNECTOR else "") if file.site is UNSET else file.site,
            user=file.user or "",
            groups=file.groups,
            tags=file.tags,
            keepalive=None if file.keepalive is UNSET else float(file.keepalive),
            endpoint=None if file.endpoint is UNSET else file.endpoint.address,
            default_route=file.default_route,
            preference=file.preference,
        )


def _read_retry_key(path: FilePath) -> bytes:
    return read_key(path, "key of 32 bytes", "`openssl rand -base64 32`")


def _probe(file: ProbeFile) -> ProbeSettings:
    return ProbeSettings(float(file.interval), file.misses, float(file.hold), file.preempt)
