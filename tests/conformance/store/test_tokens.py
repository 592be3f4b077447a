"""Tokens and the audit trail."""

from __future__ import annotations

import pytest

from rota.core.access import Role
from rota.store.protocol import NewAudit, TokenRow, Tx

from .bench import START, Bench


def a_token(id_: str, role: Role = Role.WORKER, **fields: object) -> TokenRow:
    rest = {"name": "", "owner": None, "queues": (), "allow": (), "created_at": START, **fields}
    return TokenRow(id_, f"hash of {id_}", role, **rest)  # type: ignore[arg-type]


def a_line(action: str, token: str | None = "t", n: int = 1) -> NewAudit:
    return NewAudit(token, Role.USER, "ana", "10.0.0.1", action, "job", 201, n)


def test_a_token_is_given_back_as_it_was_made(bench: Bench):
    tokens = [
        a_token("b", Role.ADMIN, name="näme"),
        a_token("a", Role.USER, owner="ana", allow=("scripts", "images"), created_at=START + 1, expires_at=START + 9),
        a_token("c", queues=("media", "mäil"), created_at=START + 2),
    ]
    for token in reversed(tokens):
        bench.write(lambda tx, token=token: tx.insert_token(token))
    assert bench.read(lambda tx: tx.tokens()) == tokens
    bench.reopen()
    assert bench.read(lambda tx: tx.tokens()) == tokens


def test_a_token_is_revoked_once_and_stays(bench: Bench):
    bench.write(lambda tx: tx.insert_token(a_token("a")))
    bench.now += 5
    for _ in range(2):
        bench.write(lambda tx: tx.revoke_token("a"))
        bench.now += 5
    assert [token.revoked_at for token in bench.read(lambda tx: tx.tokens())] == [START + 5]
    bench.write(lambda tx: tx.revoke_token("none"))


def test_the_version_grows_with_every_change_and_with_nothing_else(bench: Bench):
    seen = [bench.read(lambda tx: tx.tokens_version())]

    def after(change: object) -> None:
        bench.write(change)  # type: ignore[arg-type]
        seen.append(bench.read(lambda tx: tx.tokens_version()))

    after(lambda tx: tx.insert_token(a_token("a")))
    after(lambda tx: tx.insert_token(a_token("b")))
    after(lambda tx: tx.revoke_token("a"))
    assert seen == sorted(set(seen))
    after(lambda tx: tx.revoke_token("a"))
    after(lambda tx: tx.append_audit([a_line("x")]))
    assert seen[-3:] == [seen[-1]] * 3


@pytest.mark.parametrize("owner", [None, "ana"])
def test_a_token_belongs_to_an_owner_exactly_when_it_is_a_users(bench: Bench, owner: str | None):
    wrong = a_token("a", Role.ADMIN if owner else Role.USER, owner=owner)
    with pytest.raises(bench.kind.refusal):
        bench.write(lambda tx: tx.insert_token(wrong))
    assert bench.read(lambda tx: tx.tokens()) == []


def test_the_trail_is_read_backwards_a_page_at_a_time(bench: Bench):
    bench.write(lambda tx: tx.append_audit([a_line("one"), a_line("two", None, 7)]))
    bench.now += 3
    bench.write(lambda tx: tx.append_audit([a_line("three"), a_line("four", "other")]))
    rows = bench.read(lambda tx: tx.audit_before(None, 9, None))
    assert [(r.action, r.token, r.n, r.at) for r in rows] == [
        ("four", "other", 1, START + 3), ("three", "t", 1, START + 3), ("two", None, 7, START), ("one", "t", 1, START),
    ]  # fmt: skip
    assert (rows[0].role, rows[0].owner, rows[0].address, rows[0].target, rows[0].status) == (
        Role.USER, "ana", "10.0.0.1", "job", 201,
    )  # fmt: skip
    assert bench.read(lambda tx: tx.audit_before(rows[1].seq, 1, None)) == [rows[2]]
    assert bench.read(lambda tx: tx.audit_before(None, 9, "t")) == [rows[1], rows[3]]
    assert bench.read(lambda tx: tx.audit_before(rows[1].seq, 9, "t")) == [rows[3]]


def test_the_trail_is_pruned_by_age_and_by_number(bench: Bench):
    for action in "abcdef":
        bench.write(lambda tx, action=action: tx.append_audit([a_line(action)]))
        bench.now += 10

    def left() -> str:
        return "".join(row.action for row in reversed(bench.read(lambda tx: tx.audit_before(None, 99, None))))

    async def prune(tx: Tx, *, before: int, keep: int, limit: int) -> None:
        await tx.prune_audit(before, keep, limit)

    bench.write(lambda tx: prune(tx, before=START, keep=99, limit=99))
    assert left() == "abcdef"
    bench.write(lambda tx: prune(tx, before=START + 15, keep=99, limit=1))
    assert left() == "bcdef"
    bench.write(lambda tx: prune(tx, before=START + 15, keep=99, limit=99))
    assert left() == "cdef"
    bench.write(lambda tx: prune(tx, before=0, keep=2, limit=99))
    assert left() == "ef"
    newest = bench.read(lambda tx: tx.audit_before(None, 1, None))[0].seq
    bench.write(lambda tx: prune(tx, before=START * 2, keep=99, limit=99))
    assert left() == ""
    bench.write(lambda tx: tx.append_audit([a_line("g")]))
    assert bench.read(lambda tx: tx.audit_before(None, 1, None))[0].seq > newest
