"""Who makes a request, and what that allows: roles, permissions, and the caller that a token stands for. Pure."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

DEFAULT_OWNER = "default"
SCRIPTS, IMAGES, SECRETS = "scripts", "images", "secrets"
PERMISSIONS = (SCRIPTS, IMAGES, SECRETS)


class Role(StrEnum):
    """What a token is for: `admin` may do everything, `user` what concerns its owner's jobs, `worker` can only work."""

    ADMIN = "admin"
    USER = "user"
    WORKER = "worker"


class Who(StrEnum):
    """For whom an operation is."""

    ANYONE = "anyone"  # also without a token: it tells and changes nothing of anybody's
    OWNERS = "owners"  # those who have jobs: users and admins
    WORKERS = "workers"  # those who run jobs: workers and admins
    ADMINS = "admins"
    KEEPERS = "keepers"  # admins who have shown who they are: by a token, or by opening the store's own socket

    def admits(self, caller: Caller) -> bool:
        """Say whether a caller may use such an operation."""
        match self:
            case Who.ANYONE:
                return True
            case Who.OWNERS:
                return caller.role is not Role.WORKER
            case Who.WORKERS:
                return caller.role is not Role.USER
            case Who.ADMINS:
                return caller.role is Role.ADMIN
            case Who.KEEPERS:
                return caller.role is Role.ADMIN and caller.known


class Caller(Struct, frozen=True, kw_only=True):
    """Who makes a request.

    A user's `owner` is the only one whose jobs there are for it; None: everybody's. A worker's `queues` are the only ones
    it may serve; none: all. `allow` are the permissions. `token` is the token's id, `name` what its maker called it; `known`
    says that it is no stranger who is let in without one.
    """

    role: Role = Role.ADMIN
    owner: str | None = None
    queues: tuple[str, ...] = ()
    allow: frozenset[str] = frozenset(PERMISSIONS)
    token: str | None = None
    name: str = ""
    known: bool = False

    @property
    def by(self) -> str | None:
        """Return how a job's events name the caller; None without a token."""
        if self.token is None:
            return None
        return f"token {self.token} ({self.name})" if self.name else f"token {self.token}"

    def sees(self, owner: str) -> bool:
        """Say whether there are jobs of this owner, for this caller."""
        return self.owner in (None, owner)


LOCAL = Caller()  # whoever reaches a server that asks for no token
KEEPER = Caller(known=True)  # whoever can open the socket beside the store: the store's file is theirs
NOBODY = Caller(
    role=Role.USER, owner="", allow=frozenset()
)  # of what is for anyone it is not asked who comes: no job is theirs
STRANGER = Caller(allow=frozenset())  # whoever reaches a server from elsewhere that was told to ask for no token
