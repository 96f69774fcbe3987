"""The server: an actor that reads the files of one folder, and no others, served over standard input and output.

python -m examples.mcp_files.server FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import understudy
from understudy import Actor, ActorSystem, Message, Refused, handler
from understudy.transports.mcp import MCPStdioService, Tools, expose

__all__ = ["Files", "ListFiles", "ReadFile", "Whoami", "serve"]

MOST = 10_000


class ListFiles(Message[list[str]]):
    """The names of the files that can be read."""


class ReadFile(Message[str]):
    """The text of a file."""

    name: str


class Whoami(Message[int]):
    """The number of the server's process."""


class Files(Actor[ListFiles | ReadFile | Whoami]):
    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @handler
    def list_files(self, message: ListFiles) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())

    @handler
    def read_file(self, message: ReadFile) -> str:
        path = (self.folder / message.name).resolve()
        if path.parent != self.folder or not path.is_file():  # a link out of the folder is none of its files either
            raise Refused(f"there is no file {message.name!r} here")
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MOST)

    @handler
    def whoami(self, message: Whoami) -> int:
        return os.getpid()


async def serve(folder: Path) -> None:
    async with ActorSystem() as system:
        files = await system.spawn(Files, folder)
        service = await system.spawn(MCPStdioService, Tools(expose(files, ListFiles, ReadFile, Whoami), name="files"))
        await service.wait_stopped()


if __name__ == "__main__":
    understudy.run(serve(Path(sys.argv[1])))
