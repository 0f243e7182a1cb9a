"""
Firefox's own remote control, as much as tests need: run scripts in a page or in the browser itself.

What comes in: a port. What goes out: what a script returned. Source: Firefox's remote/marionette: a message is its
length in digits, a colon, and JSON: [0, id, command, parameters] one way, [1, id, error, result] the other.
"""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self

ANSWERS = 60.0
"""Seconds that a command may take."""


class ScriptFailed(Exception):
    """What Firefox says went wrong."""


class Marionette:
    """A session with one Firefox that was started with --marionette and --remote-allow-system-access."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWERS)
        self._buffer = b""
        self._last = 0
        greeting = self._read()
        assert greeting["marionetteProtocol"] == 3, greeting
        self.command(
            "WebDriver:NewSession", {"capabilities": {"alwaysMatch": {"pageLoadStrategy": "normal"}}}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._socket.close()

    def _read(self) -> Any:
        while b":" not in self._buffer:
            self._more()
        length, _, rest = self._buffer.partition(b":")
        self._buffer = rest
        while len(self._buffer) < int(length):
            self._more()
        content, self._buffer = self._buffer[: int(length)], self._buffer[int(length) :]
        return json.loads(content)

    def _more(self) -> None:
        more = self._socket.recv(65536)
        if not more:
            raise ScriptFailed("Firefox hung up")
        self._buffer += more

    def command(self, name: str, parameters: dict[str, object]) -> Any:
        """One command's result."""
        self._last += 1
        message = json.dumps([0, self._last, name, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, answered, error, result = self._read()
        assert answered == self._last
        if error:
            raise ScriptFailed(f"{name}: {error.get('message', error)}")
        return result

    def go(self, address: str) -> None:
        """Load a page; an error page of Firefox's is ScriptFailed."""
        self.command("Marionette:SetContext", {"value": "content"})
        self.command("WebDriver:Navigate", {"url": address})

    def in_page(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is waited for."""
        return self._run("content", script)

    def in_browser(self, script: str) -> Any:
        """The value of a JavaScript expression in the browser's own, privileged context."""
        return self._run("chrome", script)

    def _run(self, context: str, script: str) -> Any:
        self.command("Marionette:SetContext", {"value": context})
        source = (
            "const done = arguments[arguments.length - 1];"
            f"Promise.resolve((async () => {{ return ({script}); }})())"
            ".then((value) => done({value}), (error) => done({error: String(error)}));"
        )
        result = self.command(
            "WebDriver:ExecuteAsyncScript", {"script": source, "args": [], "newSandbox": True}
        )
        if "error" in result["value"]:
            raise ScriptFailed(result["value"]["error"])
        return result["value"].get("value")
