"""Who jobs run as, where the worker is root. Standard library only."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Any


class BadUser(ValueError):
    """Jobs cannot run as that user; the text says why."""


def find(user: str) -> dict[str, Any]:
    """Return what `become` needs to know of a user (a name or a number). Raises BadUser, also when this is not root."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        raise BadUser(f"there is no user {user!r} to run jobs as") from None
    if os.geteuid() != 0:
        raise BadUser(f"only root can run jobs as {user!r}: this worker runs as user number {os.geteuid()}")
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {"name": entry.pw_name, "uid": entry.pw_uid, "gid": entry.pw_gid, "groups": groups, "home": entry.pw_dir}


def become(user: Mapping[str, Any]) -> None:
    """Make this process that user's, for good. It loses the signal that it asked for its parent's death."""
    os.setgroups(user["groups"])
    os.setresgid(user["gid"], user["gid"], user["gid"])
    os.setresuid(user["uid"], user["uid"], user["uid"])
    os.environ |= {"HOME": user["home"], "USER": user["name"], "LOGNAME": user["name"]}
