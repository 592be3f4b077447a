from __future__ import annotations

import re

from rota.core import errors
from rota.core.errors import Conflict, InFlight, Invalid, RotaError, StoreInUse, TooLarge

TREE = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, RotaError)}


def test_every_error_has_a_stable_code_of_its_own():
    codes = [cls.code for cls in TREE.values()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert set(codes) == {
        "error", "invalid", "too-large", "not-found", "conflict", "in-flight", "unique-key-taken", "idempotency-key-reused",
        "quota-full", "forbidden", "unavailable", "store-in-use", "store-too-new",
    }  # fmt: skip


def test_the_drawing_names_them_all():
    drawn = set(re.findall(r"── (\w+)", errors.__doc__ or ""))
    assert drawn == set(TREE) - {"RotaError"}


def test_what_the_errors_carry():
    error = Invalid("[3].delay", "is no duration")
    assert (error.field, error.message, str(error)) == ("[3].delay", "is no duration", "[3].delay: is no duration")
    assert str(Invalid("", "is no JSON")) == "is no JSON"
    large = TooLarge("data", 1 << 20)
    assert (large.limit, large.allowed, str(large)) == ("data", 1 << 20, "data allows 1048576")
    assert str(TooLarge("data", 1, "too much")) == "too much"
    assert Conflict("is over", "failed").state == "failed"
    assert isinstance(InFlight("wait"), Conflict)
    assert StoreInUse("owned", 12).pid == 12
