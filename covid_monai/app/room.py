"""How much of all visitors' images lies in memory at once."""

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from covid_monai.api.uploads import LimitExceeded, Upload

TIMES_A_VISITOR = 4  # as many visitors may keep all that one may, before others are told to wait


class Room:
    """Counts the bytes that are held, whoever holds them."""

    def __init__(self) -> None:
        self.held = 0
        self._lock = threading.Lock()

    def take(self, size: int, most: int) -> None:
        """Count bytes that are about to be held.

        Raises:
            LimitExceeded: If they would be more than `most`, with all that is held.
        """
        if self.held + size > most:
            gc.collect()  # what a visitor left may be in a cycle of references
        with self._lock:
            if self.held + size > most:
                raise LimitExceeded("This server's memory for images is in use: try again in a while.")
            self.held += size

    def give_back(self, size: int) -> None:
        """Count bytes as free again."""
        with self._lock:
            self.held -= size

    def keep(self, upload: Upload, most: int) -> None:
        """Count an upload for as long as anybody refers to it.

        Raises:
            LimitExceeded: If there is no room for it.
        """
        self.take(len(upload.data), most)
        weakref.finalize(upload, self.give_back, len(upload.data))

    @contextmanager
    def counting(self) -> Iterator["Tally"]:
        """Count what grows in a block, and is let go or kept otherwise at its end."""
        tally = Tally(self)
        try:
            yield tally
        finally:
            self.give_back(tally.size)


class Tally:
    """What one upload holds while it arrives.

    Args:
        room: Where it counts.
    """

    def __init__(self, room: Room) -> None:
        self.size = 0
        self._room = room

    def add(self, size: int, most: int) -> None:
        """Count some more bytes.

        Raises:
            LimitExceeded: If there is no room for them.
        """
        self._room.take(size, most)
        self.size += size


ROOM = Room()  # of this process
