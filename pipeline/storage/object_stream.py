"""An object of a bucket as a stream that knows its size and where it is read."""

import io

from maskmill.pipeline.storage.objects import Bucket


class ObjectStream(io.RawIOBase):
    """What all ways of reading an object have in common; each says how bytes come."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._position = 0  # of the next byte that is asked for

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there; no request is made."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position
