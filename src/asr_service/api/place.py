"""The place of an open request among those that a slot and its API key allow."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class Place:
    """Belongs to a request and to the work that it began. The last of them that ends frees it."""

    def __init__(self, resources: AsyncExitStack) -> None:
        """`resources` hold what the place takes. Their close must not wait."""
        self._resources = resources
        self._n_holders = 0

    @property
    def is_held(self) -> bool:
        return self._n_holders > 0

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the place until the context ends. Call it again only while `is_held`."""
        self._n_holders += 1
        try:
            yield
        finally:
            self._n_holders -= 1
            if not self._n_holders:
                await self._resources.aclose()
