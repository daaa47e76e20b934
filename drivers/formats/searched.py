"""Record files whose decoder itself can tell where records begin again behind damage.

A search that reads the records as the decoder does cannot come back with a place that the decoder refuses.
"""

from abc import abstractmethod

import numpy as np

from spikeline.drivers.formats.records import Bytes, Decoder, RecordSource

SEARCH_BYTES = 1 << 18  # looked through at once


class SearchingDecoder(Decoder):
    beyond = 0  # bytes that `find` wants to see behind the place it returns, unless the file ends

    @abstractmethod
    def find(self, data: Bytes, start: int, final: bool) -> int:
        """The first byte of `data` from `start` on where records begin, or -1.

        Unless `final`, the last `beyond` bytes are not searched.
        """


class SearchedSource(RecordSource):
    def _pass_over(self, odd: int) -> int:
        decoder = self._decoder
        assert isinstance(decoder, SearchingDecoder)
        at, found, final = odd, -1, False
        while found < 0 and not final:
            ahead = np.frombuffer(self._stored.at(at, SEARCH_BYTES), np.uint8)
            final = len(ahead) < SEARCH_BYTES
            found = decoder.find(ahead, int(at == odd), final)
            if found < 0:
                at += len(ahead) - (0 if final else decoder.beyond)
        at += max(found, 0)
        decoder.resume(ahead[:0])
        self._note_lost(odd, at)
        return at
