"""The same faults with tunnels that are made another way: what is true of WireGuard is true of MASQUE, or said here."""

from __future__ import annotations

import pytest

from tests.scenarios.fabric.test_faults import ASK, ASK_DEPOT, CASES, WORLD, passes

OTHERWISE = {
    # QUIC without a connection to speak of does not tell its peer: that is noticed by silence.
    "a dead PoP is back with what it had kept and greets its peers": f"""
  - fault.kill: {{machine: edge}}
  - {{ {ASK}, expect: [received == 0] }}
  - fault.restart: {{machine: edge}}
  - {{await: edge.tunnels_up == 5, within: 20s}}
  - {ASK_DEPOT}
""",
    # It stops what MASQUE needs and lets WireGuard pass.
    "a firewall stops what it shall, and no more": f"""
  - fault.block: {{tunnels: alice, what: [tcp, udp/443]}}
  - {{await: WAY, within: 45s}}
  - fault.heal: {{tunnels: alice}}
  - {{await: 'tunnels.alice.way == "h3"', within: 70s}}
  - {ASK}
""",
    # New keys are a new connection, and what is sent meanwhile is lost.
    "new keys are noticed by nobody": f"""
  - fault.rekey-now: {{tunnels: alice}}
  - wait: {{for: 1s}}
  - {ASK}
""",
}


@pytest.mark.parametrize("word", ["masque", "auto"])
@pytest.mark.parametrize("case", CASES)
def test_in_virtual_time(case: str, word: str) -> None:
    steps = OTHERWISE.get(case, CASES[case])
    steps = steps.replace("WAY", f"'tunnels.alice.way == \"{'wireguard' if word == 'auto' else ''}\"'")
    passes(steps, world=WORLD.replace("version: 1", f"version: 1\ntunnel: {word}"))
