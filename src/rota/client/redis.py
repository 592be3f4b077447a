"""Carries the hints between servers by the pub/sub of Redis or Valkey. Needs `pip install 'rota[redis]'`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rota.core.errors import Invalid

if TYPE_CHECKING:
    from redis.asyncio import Redis

CHANNEL = "rota"
SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
_TIMEOUT_S = 5.0  # of a command
_CHECK_S = 5.0  # a connection that is silent for so long is asked whether it is still there


class RedisBell:
    """Satisfies `rota.service.relay.Bell`. The client library is loaded with the first bell.

    Stores that share a Redis share its one channel: they wake each other for nothing, and do nothing else.
    """

    mode = "redis"

    def __init__(self, url: str) -> None:
        """Raise Invalid when the URL is not one of Redis, or when the client library is not there."""
        scheme, _, rest = url.partition("://")
        if scheme not in SCHEMES or not rest:
            raise Invalid(
                "signals", "is the URL of a Redis or Valkey: redis://host:6379, rediss:// with TLS, unix:///path"
            )
        try:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            raise Invalid("signals", "needs the client of Redis: pip install 'rota[redis]'") from None
        self._client: Redis = Redis.from_url(
            f"{scheme.replace('valkey', 'redis')}://{rest}",
            socket_connect_timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            health_check_interval=_CHECK_S,
            retry=Retry(NoBackoff(), 1),  # a connection that was lost while idle is made again; the relay does the rest
            decode_responses=True,
        )

    async def ring(self, message: str) -> None:
        """Publish a message. Raises redis.RedisError."""
        await self._client.publish(CHANNEL, message)

    async def listen(self, heard: Callable[[str], None], joined: Callable[[], None]) -> None:
        """Subscribe, and hand on what comes. Raises redis.RedisError when the connection is lost."""
        async with self._client.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            while True:  # the first answer says that it is subscribed; a time-out sends a ping, if it is time for one
                message = await pubsub.get_message(timeout=_CHECK_S)
                match message:
                    case {"type": "subscribe"}:
                        joined()
                    case {"type": "message", "data": str(text)}:
                        heard(text)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
