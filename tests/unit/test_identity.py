"""What tells callers apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protogw.identity import Identity

NAMES = st.text("a 1:", max_size=4)


def test_callers_who_are_the_same_consumer_are_not_the_same_caller() -> None:
    ann, bob = (Identity(subject=name, scheme="jwt", consumer="app") for name in ("ann", "bob"))
    assert ann.key != bob.key


@given(one=st.tuples(NAMES, NAMES), other=st.tuples(NAMES, NAMES))
def test_only_equal_issuers_and_subjects_have_equal_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    keys = {Identity(issuer=issuer, subject=subject, scheme="jwt").key for issuer, subject in (one, other)}
    assert len(keys) == len({one, other})
