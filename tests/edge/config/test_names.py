from __future__ import annotations

import pytest

from edge.config.names import likely_meant


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("gest", "guest"), ("guets", "guest"), ("guests", "guest"), ("Guest", "guest"), ("guest", "GUEST"),
        ("voip_phone", "voip-phone"), ("sales-ue-desk", "sales-ue-dessk"),
    ],
)  # fmt: skip
def test_a_slip(word: str, known: str) -> None:
    assert likely_meant(word, ["staff", known, "other"]) == known


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("guest", "staff"), ("guest", ""), ("bob", "rob"), ("alice", "alicia"),
        ("floor2", "floor1"), ("vlan100", "vlan1000"), ("guest2", "guest"), ("team-b", "team-a"),
        ("contractors-us", "contractors-eu"), ("guest", "guest-vip"), ("--", "---"),
    ],
)  # fmt: skip
def test_a_name_of_its_own(word: str, known: str) -> None:
    assert likely_meant(word, [known]) is None


def test_the_nearest_is_meant() -> None:
    assert likely_meant("employes", ["employee", "employees", "employer"]) == "employees"
    assert likely_meant("guest", []) is None
