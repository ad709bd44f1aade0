"""The keys that guard has issued, as one process knows them.

It hears of each change within a second or two (`Engine.watch`), and reads only what has changed. So a request
asks nobody, and what was heard last holds while the store is down. A key's text is read when somebody comes
with it, since of many keys few are in use at a time: a hundred thousand of them take about 40 MB.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.secret import PREFIX
from guard.errors import CredentialError
from guard.identity.caller import Caller
from guard.store.issued import read_issued

if TYPE_CHECKING:
    from collections.abc import Iterator, KeysView, Mapping

    from guard.core.issued import Fault, IssuedKey, Secret
    from guard.core.network import Address
    from guard.core.pseudonyms import Pseudonyms
    from guard.store.port import IssuedPage, IssuedStore

logger = logging.getLogger("guard")


class IssuedKeyError(CredentialError):
    """A key that guard has issued is not accepted: 401, or 403 where another moment or place may be right."""

    def __init__(self, fault: Fault, key: IssuedKey) -> None:
        super().__init__(
            fault.message, status=fault.status, reason=fault, detail=f"{key.name}: {fault.message}"
        )
        self.identity = identity_of(key)


class IssuedKeys:
    """What was heard of the keys that guard has issued; `names` hashes their secrets.

    `version` is that of the store, and `changes` goes up with all that is heard.
    """

    def __init__(self, names: Pseudonyms) -> None:
        self._names = names
        self._book = _Book()
        self.version: str | None = None
        self.changes = 0

    @property
    def names(self) -> KeysView[str]:
        """The names of all keys."""
        return self._book.texts.keys()

    @property
    def attributes(self) -> frozenset[Attribute]:
        """What is said of any of them."""
        return frozenset(self._book.said)

    def __len__(self) -> int:
        return len(self._book.texts)

    def __iter__(self) -> Iterator[IssuedKey]:
        for name, text in self._book.texts.items():
            yield read_issued(name, text)

    def get(self, name: str) -> IssuedKey | None:
        """The key of this name."""
        text = self._book.texts.get(name)
        return None if text is None else read_issued(name, text)

    def saying(self, holder: Holder) -> Iterator[IssuedKey]:
        """The keys that may have a name: all that do, and perhaps some that do not."""
        if holder.attribute is Attribute.KEY:
            key = self.get(holder.value)
            yield from () if key is None else (key,)
            return
        written = json.dumps(holder.value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        for name, text in self._book.texts.items():
            if written in text:
                yield read_issued(name, text)

    def find(self, secret: str) -> tuple[IssuedKey, Secret] | None:
        """The key that a secret belongs to, and what is known of the secret."""
        digest = self._names.issued(secret)
        key = self.get(self._book.owners.get(bytes.fromhex(digest), ""))
        found = None if key is None else key.secret(digest)
        return None if key is None or found is None else (key, found)

    def judge(
        self, secret: str, address: Address | None, now_us: int, named: Mapping[str, Caller]
    ) -> Caller | None:
        """Who comes with a secret, from an address; `None` where guard does not make such secrets.

        Who is `named` elsewhere goes by what is said there. Raises `CredentialError`: 401 and 403 for a key
        that does not hold, and 503 where nothing was heard yet, since nobody can say then whose a key is.
        """
        if not secret.startswith(PREFIX):
            return None
        found = self.find(secret)
        if found is None:
            if self.version is None:
                raise CredentialError(
                    "API keys cannot be checked right now. Please try again.",
                    status=503,
                    reason="keys_unheard",
                    detail="the store has not said yet which keys there are",
                )
            raise unknown_key()
        key, known = found
        fault = key.fault(known, address, now_us)
        if fault is not None:
            raise IssuedKeyError(fault, key)
        attributes = named[key.name].attributes if key.name in named else attributes_of(key)
        principal = Holder(Attribute.KEY, key.name)
        return Caller(principal, attributes, VouchedBy.ISSUED, until_us=key.holds_until_us(known))

    async def hear(self, store: IssuedStore) -> None:
        """Read what has changed since, or all where the store begins anew; raises `StoreError`.

        A store that has lost all of its keys is not believed: what was heard before holds.
        """
        page = await store.issued_since(self._book.position)
        if not page.about:
            self._note_lost()
        elif self._book.follows(page):
            await self._read(self._book, page, store)
            if len(self._book) != page.count:
                # Some of what was heard is not there, as where a replica took over that did not have it yet.
                await self._read(_Book(), await store.issued_since(0), store)
        else:
            await self._read(_Book(), await store.issued_since(0), store)

    async def _read(self, book: _Book, page: IssuedPage, store: IssuedStore) -> None:
        """Write this page down and all after it; the book holds when it is complete."""
        while book.follows(page):
            book.write(page)
            self.changes += 1
            if page.last:
                book.forget(page.now_us)
                self._book, self.version = book, page.about
                return
            page = await store.issued_since(book.position)

    def _note_lost(self) -> None:
        if self._book.texts and self.version:
            logger.error(
                "Redis has lost its keys; the %d that were heard hold until this process ends. Restore a "
                "backup of Redis before you make new keys: they take the place of all others",
                len(self),
            )
        self.version = ""


@dataclass(slots=True)
class _Book:
    """Keys by name, as they are written; whose each hash of a secret is; and when some are forgotten.

    `epoch` is 0 where nothing was written yet, and `position` the version of what was written last. A hash of
    which its owner's text knows nothing any more is nobody's.
    """

    epoch: int = 0
    position: int = 0
    texts: dict[str, bytes] = field(default_factory=dict)
    owners: dict[bytes, str] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    said: set[Attribute] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.texts) + len(self.damaged)

    def follows(self, page: IssuedPage) -> bool:
        """Whether a page goes on from what was written."""
        epoch, version = map(int, page.about.split())
        return self.epoch in (0, epoch) and version >= self.position

    def write(self, page: IssuedPage) -> None:
        """Write a page down."""
        self.epoch = int(page.about.split()[0])
        for name, version, text in page.changed:
            self.position = version
            self.ends.pop(name, None)
            try:
                key = read_issued(name, text)
            except ValueError as error:
                logger.warning("the key %r is damaged in Redis, so it is nobody's: %s", name, error)
                self.texts.pop(name, None)
                self.damaged.add(name)
                continue
            self.damaged.discard(name)
            self.texts[name] = text
            self.owners.update((bytes.fromhex(each.digest), name) for each in key.secrets)
            self.said.update(attributes_of(key))
            if key.forgotten_us is not None:
                self.ends[name] = key.forgotten_us

    def forget(self, now_us: int) -> None:
        """Forget what ended so long ago that the store forgets it too."""
        for name in [name for name, end_us in self.ends.items() if end_us <= now_us]:
            del self.ends[name]
            for secret in read_issued(name, self.texts.pop(name)).secrets:
                self.owners.pop(bytes.fromhex(secret.digest), None)


def attributes_of(key: IssuedKey) -> Mapping[Attribute, str]:
    """What the operator says of who has a key."""
    return {Attribute.KEY: key.name, **key.attributes}


def identity_of(key: IssuedKey) -> Identity:
    """Who has a key, wherever it is used."""
    return Identity(Holder(Attribute.KEY, key.name), attributes_of(key), VouchedBy.ISSUED)


def unknown_key() -> CredentialError:
    """The error of a key that nobody knows; the same whether it ever was one."""
    return CredentialError("Incorrect API key provided.", status=401, reason="unknown_key")
