"""What a page process makes of pages in tests: each page's body says what is to happen to the process."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from mappool_assets.lib.crawl.warc_pages import CrawlPage
from mappool_assets.lib.web_documents.page_messages import Refused

HELD: list[bytearray] = []


def prepare() -> Callable[[CrawlPage], object]:
    """Return :func:`obey`."""
    return obey


def obey(page: CrawlPage) -> object:
    """Do as the body says, a word and perhaps an argument; the result is the word and the page's address."""
    word, _, argument = page.body.decode().partition(" ")
    if word in ACTIONS:
        ACTIONS[word](argument)
    if word == "refuse":
        return Refused("refused", "as asked")
    return "x" * (int(argument) << 20) if word == "large" else (word, page.url)


def spin(_: str) -> None:
    """Spend processor time in C, without ever handing control back to Python."""
    sum(range(10**15))


def fail(_: str) -> None:
    raise ValueError("quoted: " + "p" * 10_000)


def fail_without_memory(_: str) -> None:
    """Fill the memory, then fail as a library does that has words of its own for it."""
    filled = []
    try:
        while True:
            filled.append(bytearray(1 << 20))
    except MemoryError:
        filled.clear()
        raise RuntimeError("Can't parse HTML.") from None


def kill_once(marker: str) -> None:
    """End the process as the kernel's out-of-memory killer does, the first time only."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)


ACTIONS: dict[str, Callable[[str], object]] = {
    "spin": spin,
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "allocate": lambda mebibytes: bytearray(int(mebibytes) << 20),
    "keep": lambda mebibytes: HELD.append(bytearray(int(mebibytes) << 20)),
    "fail": fail,
    "fail_without_memory": fail_without_memory,
    "signal": lambda number: os.kill(os.getpid(), int(number)),
    "signal_unless_fresh": lambda number: HELD and os.kill(os.getpid(), int(number)),
    "kill_once": kill_once,
    "exit": lambda status: os._exit(int(status)),
}
