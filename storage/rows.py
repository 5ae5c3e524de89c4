"""Numbered rows on disk, each filled once, which the processes of any number of hosts share through a folder."""

import os
import secrets
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from storage.files import remove_left, write_whole

# Of a chunk: what it is, checksum of what follows the header, values in a row, rows. Then their numbers and values.
HEADER = struct.Struct("<8sIIQ")
MAGIC = b"kd-rows1"
NUMBER_BYTES, VALUE_BYTES = 4, 2
BLOCK_BYTES = 2**26


class DamagedError(Exception):
    """A chunk is not what was written."""


class Rows:
    """Rows of float16 known by their numbers: in the memory of this process, and in a folder.

    The folder holds chunks of rows: files that appear whole, under names of their own, and never change. So a reader on
    another host sees a chunk or does not, whatever its cache of the shared folder, and never half of one. A process
    reads a chunk once, verifies its checksum and keeps the rows in memory; what happens to the file later does not
    matter to it. A chunk that is damaged is said to be so and removed, one that is missing is not known: their rows are
    lacking, for the caller to add again.

    Args:
        folder: of the chunks; created where it is missing.
        numbers: rows are numbered from 0 to one less than this.
        width: values in a row.
        device: in whose memory the rows are kept.
        say: is told of a damaged chunk.
    """

    def __init__(
        self, folder: Path, numbers: int, width: int, device: torch.device, say: Callable[[str], None]
    ) -> None:
        self.folder, self.width, self._say = folder, width, say
        folder.mkdir(parents=True, exist_ok=True)
        remove_left(folder, "*.rows")
        self._seen: set[str] = set()
        self._count = 0
        self._unwritten: list[tuple[Tensor, Tensor]] = []
        self._device = device
        # Of a CPU's memory as rows come, since all that there could be may be more than a system grants at once; of any
        # other's all at once, while it is free.
        self._blocks: list[Tensor] = []
        most = max(1, BLOCK_BYTES // (VALUE_BYTES * width))
        self._block_rows = min(numbers, most) if device.type == "cpu" else numbers
        self._places = torch.full((numbers,), -1, dtype=torch.int32)

    def __len__(self) -> int:
        """How many rows this process knows."""
        return self._count

    def lacking(self, numbers: Tensor) -> Tensor:
        """Those that this process does not know, int64, ascending, each once."""
        lacking: Tensor = numbers[self._places[numbers] < 0].unique()
        return lacking

    def of(self, numbers: Tensor) -> Tensor:
        """The rows of these numbers, all of which are known.

        Args:
            numbers: int64 of shape (n,), on the CPU.

        Returns:
            float16 of shape (n, width), on the device of the rows.
        """
        places = self._places[numbers].long()
        found = torch.empty(len(numbers), self.width, dtype=torch.float16, device=self._device)
        for block, values in enumerate(self._blocks):
            (here,) = (places // self._block_rows == block).nonzero(as_tuple=True)
            found[here.to(self._device)] = values[(places[here] % self._block_rows).to(self._device)]
        return found

    def read(self) -> None:
        """Get to know what was written since the last time, by whichever process.

        Raises:
            OSError: where a chunk cannot be read; a damaged one is no error.
        """
        for name in sorted({path.name for path in self.folder.glob("*.rows")} - self._seen):
            path = self.folder / name
            try:
                self._keep(*self._load(path))
            except FileNotFoundError:
                continue  # removed by another process, since it is damaged
            except DamagedError as error:
                self._say(f"{path}: damaged ({error}), so it is removed and its rows are computed again")
                path.unlink(missing_ok=True)
            self._seen.add(name)

    def add(self, numbers: Tensor, values: Tensor) -> None:
        """Know these rows from now on; on disk they are once they are written.

        Args:
            numbers: int64 of shape (n,), on the CPU, none of them twice.
            values: float16 of shape (n, width), on any device.
        """
        self._keep(numbers, values)
        self._unwritten.append((numbers.int(), values.cpu()))

    def write(self) -> None:
        """Write what was added since the last time as one chunk.

        Raises:
            OSError: where there is no room or no permission; the next call tries to write all of it again.
        """
        if not self._unwritten:
            return
        numbers, values = (torch.cat(parts).numpy() for parts in zip(*self._unwritten, strict=True))
        content = numbers.tobytes() + values.tobytes()
        header = HEADER.pack(MAGIC, zlib.crc32(content), self.width, len(numbers))
        # The number is for a person; two hosts may come to the same one.
        name = f"{len(self._seen):06d}-{secrets.token_hex(4)}.rows"
        try:
            write_whole(header + content, self.folder / name)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder)) from error
        self._seen.add(name)
        self._unwritten.clear()

    def _keep(self, numbers: Tensor, values: Tensor) -> None:
        new = self._places[numbers] < 0
        if not new.all():
            numbers, values = numbers[new], values[new.to(values.device)]
        end = self._count
        while len(values) > 0:
            block, first = divmod(end, self._block_rows)
            if block == len(self._blocks):
                self._blocks.append(torch.empty(self._block_rows, self.width, dtype=torch.float16, device=self._device))
            taken, values = values[: self._block_rows - first], values[self._block_rows - first :]
            self._blocks[block][first : first + len(taken)] = taken
            end += len(taken)
        # Last, so that no row is known for which there was no memory.
        self._places[numbers] = torch.arange(self._count, end, dtype=torch.int32)
        self._count = end

    def _load(self, path: Path) -> tuple[Tensor, Tensor]:
        with path.open("rb") as file:
            header = file.read(HEADER.size)
            content = bytearray(max(0, os.fstat(file.fileno()).st_size - HEADER.size))
            if len(header) < HEADER.size or file.readinto(content) < len(content):
                raise DamagedError("short")
        magic, checksum, width, count = HEADER.unpack(header)
        if magic != MAGIC or width != self.width:
            raise DamagedError("not such rows")
        if not content or len(content) != count * (NUMBER_BYTES + VALUE_BYTES * width):
            raise DamagedError("short or long")
        if zlib.crc32(content) != checksum:
            raise DamagedError("its checksum is another")
        numbers = torch.frombuffer(content, dtype=torch.int32, count=count).long()
        if not 0 <= int(numbers.min()) <= int(numbers.max()) < len(self._places):
            raise DamagedError("not such rows")
        values = torch.frombuffer(content, dtype=torch.float16, offset=count * NUMBER_BYTES)
        return numbers, values.view(count, width)


def count_rows(folder: Path) -> int:
    """How many rows the chunks of a folder say that they hold; 0 where there is no such folder."""
    count = 0
    for path in folder.glob("*.rows"):
        with path.open("rb") as file:
            header = file.read(HEADER.size)
        if len(header) == HEADER.size and header.startswith(MAGIC):
            count += HEADER.unpack(header)[-1]
    return count
