"""Write several batches as one Arrow file of one batch, without joining them in memory first.

Arrow writes a column from one buffer, and joining the batches of a shard for it would copy every byte once more. So its
writer is given memory of the right size that nobody ever touches, and where it hands that over, the pieces are written.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

SMALL = 1 << 16  # bytes that are rather joined


def write_shard(sink: Any, batches: Sequence[pa.RecordBatch]) -> None:
    """Write the batches; the same rows always give the same bytes, however they are cut into batches.

    Raises:
        RuntimeError: this version of pyarrow writes other memory than it was given.
    """
    pieces = _Pieces(sink)
    columns = [pieces.joined([batch.column(at) for batch in batches]) for at in range(batches[0].num_columns)]
    schema = batches[0].schema.remove_metadata()
    with pa.ipc.new_file(pa.PythonFile(pieces, mode="w"), schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    if pieces.left:
        raise RuntimeError("Arrow wrote other memory than it was given: this version of pyarrow cannot be used")


class _Pieces:
    """A sink that writes several buffers where Arrow hands over the one that stands for them."""

    closed = False

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._stand_ins: list[pa.Buffer] = []  # kept: their addresses must stay theirs
        self.left: dict[int, list[pa.Buffer]] = {}  # by address, those that were not written yet

    def write(self, data: Any) -> int:
        pieces = self.left.pop(data.address, None) if isinstance(data, pa.Buffer) else None
        return int(sum(map(self._sink.write, [data] if pieces is None else pieces)))

    def tell(self) -> int:
        return int(self._sink.tell())

    def flush(self) -> None: ...

    def joined(self, parts: Sequence[pa.Array]) -> pa.Array:
        """The parts as one array, without what their buffers hold beyond them: the writer would take it as padding."""
        kind, count = parts[0].type, sum(map(len, parts))
        if any(part.null_count for part in parts):
            return pa.concat_arrays([*parts, parts[0].slice(0, 0)])
        if kind in (pa.large_string(), pa.large_binary()):
            ends = [np.frombuffer(p.buffers()[1], np.int64)[p.offset : p.offset + len(p) + 1] for p in parts]
            data = [p.buffers()[2].slice(end[0], end[-1] - end[0]) for p, end in zip(parts, ends, strict=True)]
            sizes = np.concatenate([np.diff(end) for end in ends])
            offsets = np.concatenate([[0], np.cumsum(sizes)])
            return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(offsets), self._stand_in(data)])
        if pa.types.is_primitive(kind) and kind.bit_width >= 8:
            width = kind.bit_width // 8
            data = [part.buffers()[1].slice(part.offset * width, len(part) * width) for part in parts]
            return pa.Array.from_buffers(kind, count, [None, self._stand_in(data)])
        if pa.types.is_fixed_size_list(kind):
            return pa.FixedSizeListArray.from_arrays(self.joined([part.flatten() for part in parts]), type=kind)
        return pa.concat_arrays([*parts, parts[0].slice(0, 0)])

    def _stand_in(self, pieces: list[pa.Buffer]) -> pa.Buffer:
        size = sum(piece.size for piece in pieces)
        if size <= SMALL or len(pieces) == 1:
            return pieces[0] if len(pieces) == 1 else pa.py_buffer(b"".join(pieces))
        buffer = pa.py_buffer(np.empty(size, np.uint8))  # the system gives it no memory before it is touched
        self._stand_ins.append(buffer)
        self.left[buffer.address] = pieces
        return buffer
