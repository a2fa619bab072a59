"""Addresses as people write them, with all the places where a secret can stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.addresses import shown
from raysweep.errors import WorkError, reason_of
from raysweep.secrets import has_secret, redacted, secret_line, without_secrets


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("s3://KEY:hush@bucket/runs", "s3://bucket/runs"),
        ("s3://KEY:hu/sh@bucket/runs: gone", "s3://bucket/runs: gone"),
        ("s3://hush@bucket", "s3://bucket"),
        ("s3://KEY:hush@bucket?region=eu&scheme=http", "s3://bucket?region=eu&scheme=http"),
        ("gs://b/x?access_token=hush", "gs://b/x?access_token=…"),
        ("'https://h/a.zip?token=hush&Signature=hush' fails", "'https://h/a.zip?token=…&Signature=…' fails"),
        ("exceeded with url: /a.zip?token=hush (Caused by", "exceeded with url: /a.zip?token=… (Caused by"),
        ("http://127.0.0.1:8265/a@b", "http://127.0.0.1:8265/a@b"),
        ("http://host:80", "http://host:80"),
        ("http://127.0.0.1:8265: it asks (http://h:1), so", "http://127.0.0.1:8265: it asks (http://h:1), so"),
        ("s3://a:hush@x/y and s3://b:hush@z", "s3://x/y and s3://z"),
        ("which pretraining? a=b", "which pretraining? a=b"),
        ("s3://KEY:hush/?region=eu: no such host", "s3://… no such host"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("me@example.org", "me@example.org"),
        ("file:///a b@c/d", "file:///a b@c/d"),
    ],
)  # fmt: skip
def test_what_is_left_of_a_sentence(text: str, left: str) -> None:
    assert without_secrets(text) == left
    assert without_secrets(left) == left
    assert reason_of(WorkError(text)) == left


def test_a_path_that_people_see_has_no_password_even_where_it_is_not_an_address_as_it_should_be() -> None:
    assert shown("s3://KEY:hu/sh@bucket/a%20b?token=hush") == "s3://bucket/a b"


_SECRET = st.text(st.sampled_from("abcXYZ019+/%-_.~"), min_size=8, max_size=40).map(lambda text: f"q{text}q")


@given(
    secret=_SECRET, place=st.sampled_from(["s3://KEY:{}@bucket/runs", "s3://b/x?secret_key={}", "xy://h?a=1&b={}#c"])
)
def test_a_secret_is_never_left(secret: str, place: str) -> None:
    address = place.format(secret)
    assert has_secret(address)
    for found in (without_secrets(f"{address}: no such bucket"), str(redacted({address: [address, {"a": address}]}))):
        assert secret not in found


def test_data_keeps_what_is_no_address() -> None:
    value = {"name": "is it tumour?yes=1", "n": 3, "none": None, "list": [1.5, True, "a@b"]}
    assert redacted(value) == value
    assert not has_secret("where: {is?it=x}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nstorage: s3://KEY:hush@b/runs", 2),
        ("# s3://b?secret_key=hush&region=eu", 1),
        ("a,b\n1,gs://b/x?access_token=hush", 2),
        ("url: https://h/a.zip?X-Amz-Signature=5e", 1),
        ("url: https://ann:hush@h/a.zip", 1),
        ("url: https://zenodo.org/records/1?download=1\nmail: me@example.org\nstorage: s3://b/r?region=eu", None),
        ("http://127.0.0.1:80/a@b", None),
    ],
)
def test_a_password_in_a_file_is_found(text: str, line: int | None) -> None:
    assert secret_line(text) == line
