"""Templates of paths: what RFC 9484 section 3 allows, expansion, and matching with every trick of escapes (M2)."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.masque.refusal import BadRequest
from edge.proto.masque.template import DEFAULT_TEMPLATE, Template, Variables, match_any

QUICK = settings(max_examples=150, deadline=None, derandomize=True)

DEFAULT = Template.parse(DEFAULT_TEMPLATE)
FORM = Template.parse("/masque/ip{?target,ipproto}")
VALUES = Template.parse("/masque/ip?t={target}&i={ipproto}")
FIXED = Template.parse("/vpn")
EXAMPLES = [DEFAULT, FORM, VALUES, Template.parse("/a?user=bob{&ipproto}&x=1&t={target}")]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        (DEFAULT_TEMPLATE, "/.well-known/masque/ip/2001%3Adb8%3A%3A%2F32/17/"),
        ("/masque/ip?t={target}&i={ipproto}", "/masque/ip?t=2001%3Adb8%3A%3A%2F32&i=17"),
        ("/masque/ip{?target,ipproto}", "/masque/ip?target=2001%3Adb8%3A%3A%2F32&ipproto=17"),
        ("/{ipproto}?a=%C3%A9{&target}", "/17?a=%C3%A9&target=2001%3Adb8%3A%3A%2F32"),
    ],
)
def test_expansion(text, expanded):
    template = Template.parse(text)
    assert template.expand("2001:db8::/32", "17") == expanded
    assert template.match(expanded) == Variables("2001:db8::/32", "17")
    assert template.match(template.expand()) == Variables("*", "*")


@pytest.mark.parametrize("text", ["/", "/vpn", "/?user=bob", "/a/b%2Fc"])
def test_fixed_paths(text):
    template = Template.parse(text)
    assert template.expand() == text
    assert template.match(text) == Variables()
    for limits in ({"target": "10.0.0.1"}, {"ipproto": "17"}):
        with pytest.raises(ValueError, match="cannot ask for"):
            template.expand(**limits)


def test_the_wildcard_is_written_as_in_the_rfc():
    assert DEFAULT.expand() == "/.well-known/masque/ip/*/*/"


@pytest.mark.parametrize("values", [{"target": ""}, {"ipproto": ""}])
def test_an_empty_value_is_not_expanded(values):
    with pytest.raises(ValueError, match="empty"):
        DEFAULT.expand(**values)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://example.org/vpn", "write only its path"),
        ("", "does not begin with a slash"),
        ("vpn", "write /vpn"),
        ("{+target}", "slash"),
        ("/{+target}", "no operator"),
        ("/{#target}", "no operator"),
        ("/x{.target}", "no operator"),
        ("/x{/target}", "no operator"),
        ("/x{;target}", "no operator"),
        ("/{target:3}", "no modifiers"),
        ("/{target*}", "no modifiers"),
        ("/x{?target*}", "no modifiers"),
        ("/{port}", "no variable"),
        ("/{}", "no variable"),
        ("/{Target}", "no variable"),
        ("/{target,ipproto}", "no variable"),
        ("/{target}/{target}", "twice"),
        ("/{target}{?target}", "twice"),
        ("/x?a=1&a=2", "twice"),
        ("/x?a=1{?target}", "two question marks"),
        ("/x{&target}", "of its own"),
        ("/a{target}", "of its own"),
        ("/{target}-{ipproto}", "of its own"),
        ("/x?t=a{target}", "of its own"),
        ("/x?{target}=1", "name of a parameter"),
        ("/x?{target}", "name of a parameter"),
        ("/{target", "character"),
        ("/target}", "character"),
        ("/a b", "character"),
        ("/é", "character"),
        ("/a#b", "character"),
        ("/%zz", "character"),
        ("/%", "character"),
        ("/%ff", "UTF-8"),
        ("/x?%ff=1", "UTF-8"),
    ],
)
def test_what_is_no_template_for_us(text, why):
    with pytest.raises(ValueError, match=why):
        Template.parse(text)


@pytest.mark.parametrize(
    ("template", "path", "variables"),
    [
        (DEFAULT, "/.well-known/masque/ip/*/*/", ("*", "*")),
        (DEFAULT, "/.well-known/masque/ip/%2A/%2a/", ("*", "*")),
        (DEFAULT, "/%2Ewell%2Dknown/m%61sque/ip/10.0.0.1/6/", ("10.0.0.1", "6")),
        (DEFAULT, "/.well-known/masque/ip/2001%3Adb8%3a%3A%2f32/17/", ("2001:db8::/32", "17")),
        (DEFAULT, "/.well-known/masque/ip/2001:db8::/17/", ("2001:db8::", "17")),
        (
            DEFAULT,
            "/.well-known/masque/ip/%252F/+6/",
            ("%2F", "+6"),
        ),  # escapes are resolved once, + is no space
        (DEFAULT, "/.well-known/masque/ip/../*/", ("..", "*")),  # no walking about
        (DEFAULT, "/.well-known/masque/ip/%2F/%00/", ("/", "\0")),
        (DEFAULT, "/.well-known/masque/ip/*/*/?", ("*", "*")),
        (FORM, "/masque/ip", ("*", "*")),
        (FORM, "/masque/ip?ipproto=6", ("*", "6")),
        (FORM, "/masque/ip?ipproto=6&target=%3A%3A", ("::", "6")),
        (FORM, "/masque/ip?%74arget=*", ("*", "*")),
        (VALUES, "/masque/ip?i=6&t=a=b", ("a=b", "6")),
        (FIXED, "/vpn", ("*", "*")),
        (FIXED, "/%76pn", ("*", "*")),
    ],
)
def test_paths_that_match(template, path, variables):
    assert template.match(path) == variables


@pytest.mark.parametrize(
    ("template", "path"),
    [
        (DEFAULT, ""),
        (DEFAULT, "*"),
        (DEFAULT, "/"),
        (DEFAULT, "/.well-known/masque/ip/*/*"),
        (DEFAULT, "/.well-known/masque/ip/10.0.0.0/8/*/"),  # the slash of a prefix must be escaped
        (DEFAULT, "/.well-known/masque/udp/*/*/"),
        (DEFAULT, "/.well-known/masque%2Fip/*/*/"),
        (DEFAULT, "//.well-known/masque/ip/*/*/"),
        (DEFAULT, "/.WELL-KNOWN/masque/ip/*/*/"),
        (DEFAULT, "/.well-known/masque/ip/*/*/?a=1"),
        (DEFAULT, "/.well-known/masque/./ip/*/*/"),
        (FORM, "/masque/ip?proto=6"),
        (FORM, "/masque/ip?&target=*"),
        (FORM, "/masque/ip/"),
        (Template.parse("/?user=bob"), "/"),
        (Template.parse("/?user=bob"), "/?user=eve"),
        (FIXED, "/vpn/"),
        (FIXED, "/vpn%2F"),
        (FIXED, "/vpn%00"),
    ],
)
def test_paths_that_do_not(template, path):
    assert template.match(path) is None
    with pytest.raises(BadRequest) as caught:
        match_any([template], path)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("template", "path"),
    [
        (DEFAULT, "/.well-known/masque/ip/%/*/"),
        (DEFAULT, "/.well-known/masque/ip/%2/*/"),
        (DEFAULT, "/.well-known/masque/ip/%gg/*/"),
        (DEFAULT, "/.well-known/masque/ip/*/*/%"),
        (DEFAULT, "/.well-known/masque/ip/%ff/*/"),
        (DEFAULT, "/.well-known/masque/ip/%c0%af/*/"),  # a slash in too many bytes
        (DEFAULT, "/.well-known/masque/ip/%ed%a0%80/*/"),  # a surrogate
        (DEFAULT, "/.well-known/masque/ip//*/"),
        (DEFAULT, "/.well-known/masque/ip/*//"),
        (FORM, "/masque/ip?target="),
        (FORM, "/masque/ip?target"),
        (FORM, "/masque/ip?target=*&target=*"),
        (FORM, "/masque/ip?target=a&%74arget=b"),
        (FIXED, "/vpn#x"),
        (FIXED, "/v pn"),
        (FIXED, "/vpn\n"),
        (FIXED, "/vpn\x7f"),
        (FIXED, "/vpn\xe9"),
    ],
)
def test_malformed_paths(template, path):
    with pytest.raises(BadRequest) as caught:
        template.match(path)
    assert caught.value.status == 400


def test_the_first_template_that_matches():
    assert match_any([FIXED, DEFAULT, FORM], "/masque/ip?ipproto=1") == ("*", "1")
    with pytest.raises(BadRequest):
        match_any([], "/")


@QUICK
@given(st.sampled_from(EXAMPLES), st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=5))
def test_what_is_expanded_is_matched(template, target, ipproto):
    with suppress(UnicodeEncodeError):  # surrogates
        path = template.expand(target, ipproto)
        assert path.isascii() and path.isprintable() and " " not in path
        assert template.match(path) == (target, ipproto)


@QUICK
@given(st.sampled_from([*EXAMPLES, FIXED]), st.data())
def test_mutated_paths_raise_nothing_else(template, data):
    path = list(template.expand())
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(path) - 1))
        path[at] = data.draw(
            st.sampled_from(["", "%", "%2", "%2F", "%ff", "/", "?", "&", "=", "\0", "é", "x"])
        )
    with suppress(BadRequest):
        template.match("".join(path))


@QUICK
@given(st.text(alphabet="/ab?&={}%2F,targetipproto*", max_size=30))
def test_random_templates_raise_nothing_else(text):
    with suppress(ValueError):
        template = Template.parse("/" + text)
        assert template.match(template.expand()) == Variables()
