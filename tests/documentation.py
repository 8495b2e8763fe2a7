"""A receiver that knows only the documentation: plain `mosquitto_sub`, docs/asyncapi.yaml and the JSON Schemas there.

Nothing here is imported from edge: whatever it needs to know stands in those files.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import jsonschema
import yaml

from tests.conftest import need_program

DOCS = Path(__file__).resolve().parent.parent / "docs"
WAIT_S = 20.0


class Documentation:
    """What a message on a topic must be."""

    def __init__(self, folder: Path = DOCS) -> None:
        self.document: dict[str, Any] = yaml.safe_load((folder / "asyncapi.yaml").read_text(encoding="utf-8"))
        self._channels = {
            name: (_pattern(channel["address"]), self._is_retained(name), self._validators(folder, channel))
            for name, channel in self.document["channels"].items()
        }

    def resolve(self, reference: str) -> Any:
        """What `#/a/b` means. Raises KeyError for a reference into nothing."""
        found: Any = self.document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        return found

    def check(self, topic: str, body: str) -> str:
        """The name of the topic's channel. Raises ValidationError or AssertionError for what is not documented."""
        names = [name for name, (pattern, _, _) in self._channels.items() if pattern.fullmatch(topic)]
        assert len(names) == 1, f"{topic} is the topic of {names or 'no channel'}"
        _, retained, validators = self._channels[names[0]]
        if body == "" and retained:  # taken back
            return names[0]
        event = json.loads(body)
        faults = [next(iter(validator.iter_errors(event)), None) for validator in validators]
        if all(faults):
            raise faults[0]
        return names[0]

    def _is_retained(self, name: str) -> bool:
        operations = self.document["operations"].values()
        (operation,) = (one for one in operations if one["channel"]["$ref"] == f"#/channels/{name}")
        return bool(operation["bindings"]["mqtt"]["retain"])

    def _validators(self, folder: Path, channel: dict[str, Any]) -> list[jsonschema.Draft7Validator]:
        messages = [self.resolve(message["$ref"]) for message in channel["messages"].values()]
        files = [folder / message["payload"]["schema"]["$ref"] for message in messages]
        return [jsonschema.Draft7Validator(json.loads(file.read_text(encoding="utf-8"))) for file in files]


def _pattern(address: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{[a-z]+\\\}", "[^/]+", re.escape(address)))


class DocumentedSubscriber:
    """Plain `mosquitto_sub -v` on one topic filter, from the moment it is made until `close`."""

    def __init__(self, port: int, topics: str = "cityeye/#") -> None:
        # By itself mosquitto_sub holds back what it writes to a pipe.
        command = [need_program("stdbuf"), "-oL", need_program("mosquitto_sub"), "-h", "127.0.0.1", "-p", str(port)]
        self.port = port
        self._process = subprocess.Popen(
            [*command, "-q", "1", "-v", "-t", topics, "-d"], stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._changed = threading.Condition()
        self.heard: list[tuple[str, str]] = []
        assert self._process.stdout is not None
        assert any("Subscribed" in line for line in self._process.stdout)
        self._thread = threading.Thread(target=self._listen, args=(topics.partition("/")[0],), daemon=True)
        self._thread.start()

    def _listen(self, root: str) -> None:
        """`-d`, which tells of the subscription, tells of more, in lines of its own."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(f"{root}/"):
                topic, _, body = line.rstrip("\n").partition(" ")
                with self._changed:
                    self.heard.append((topic, "" if body == "(null)" else body))
                    self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[tuple[str, str]]], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.heard), timeout=WAIT_S)

    def check(self, documentation: Documentation) -> Counter[str]:
        """All that was heard, held to the documentation: how many messages of each channel."""
        with self._changed:
            return Counter(documentation.check(topic, body) for topic, body in self.heard)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(WAIT_S)
        self._thread.join(WAIT_S)

    def __enter__(self) -> DocumentedSubscriber:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
